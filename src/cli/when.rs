//! Times for people, in the system's local time zone.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// Formats a wall-clock time, in milliseconds since 1970 UTC, as local date and time.
pub(super) fn local(wall_ms: i64) -> String {
    zoned(wall_ms).map_or_else(|| format!("{wall_ms} ms"), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Formats only the time of day.
pub(super) fn time_of_day(wall_ms: i64) -> String {
    zoned(wall_ms).map_or_else(|| format!("{wall_ms} ms"), |at| at.strftime("%H:%M:%S").to_string())
}

/// Seconds since local midnight.
pub(super) fn second_of_day(wall_ms: i64) -> u32 {
    let of = |at: ZonedDateTime| {
        u32::try_from(i32::from(at.hour()) * 3_600 + i32::from(at.minute()) * 60 + i32::from(at.second()))
    };
    zoned(wall_ms).and_then(|at| of(at).ok()).unwrap_or(0)
}

fn zoned(wall_ms: i64) -> Option<ZonedDateTime> {
    Some(Timestamp::from_millisecond(wall_ms).ok()?.to_zoned_datetime(TimeZone::system()))
}

/// The value of `--at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A time of day: its latest occurrence.
    Time(Time),
    /// A date and a time.
    DateTime(DateTime),
}

impl At {
    /// Reads `14:05`, `14:05:30` or `2026-11-24T14:05`, with or without seconds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let remedy = || "write it as 14:05 or 2026-11-24T14:05".to_owned();
        if text.contains(['-', 'T', ' ']) {
            let at: DateTime = text.parse().map_err(|_| remedy())?;
            return if text.contains(':') { Ok(Self::DateTime(at)) } else { Err(remedy()) };
        }
        if !text.contains(':') {
            return Err(remedy());
        }
        text.parse().map(Self::Time).map_err(|_| remedy())
    }

    /// The wall-clock time, in milliseconds since 1970 UTC, when it is now `now_ms`. A time that occurs twice when summer time ends is
    /// taken as the first; one that is skipped in spring is taken as if the clock had not been put forward yet.
    pub(super) fn wall_ms(self, now_ms: i64) -> Option<i64> {
        let zone = TimeZone::system();
        let ms = |at: DateTime| at.to_zoned_datetime(zone.clone()).ok().map(|at| at.timestamp().as_millisecond());
        match self {
            Self::DateTime(at) => ms(at),
            Self::Time(time) => {
                let today = zoned(now_ms)?.date();
                ms(today.to_datetime(time))
                    .filter(|at| *at <= now_ms)
                    .or_else(|| ms(today.yesterday().ok()?.to_datetime(time)))
            }
        }
    }
}
