//! The time from a publish of the meters to the setpoint frame at the wallbox.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::house::{HomeAssistant, until};
use super::line::Line;

/// Pause between publishes, in microseconds: each write is followed by its read-back and a poll within half a second, and then by one poll
/// every 1.05 s, so that this range meets every phase of the polling equally often.
const PAUSE_US: Range<u64> = 500_000..1_550_000;
/// Highest and lowest current of the falling staircase, in tenths of an ampere.
pub(crate) const TOP: u16 = 160;
pub(crate) const BOTTOM: u16 = 60;
/// Power of a tenth of an ampere on three phases at 230 V, in watts.
pub(crate) const WATTS: i32 = 69;
/// Increases of the current wait for 5 s if samples come quickly, decreases never do: only decreases are timed.
const RISE_PAUSE: Duration = Duration::from_millis(5_500);
/// Longest wait for a setpoint.
const LATE: Duration = Duration::from_secs(5);

/// Publishes surplus until the charger has been allowed to charge.
pub(crate) fn start_charging(line: &Line, home: &mut HomeAssistant) -> anyhow::Result<()> {
    until("the first setpoint", || {
        home.sample(watts_for(BOTTOM), line.drawn.load(Ordering::Relaxed))?;
        thread::sleep(Duration::from_millis(500));
        Ok(line.written.try_iter().any(|written| written.deciamps == BOTTOM))
    })
}

/// The surplus that is just enough for this current.
fn watts_for(deciamps: u16) -> i32 {
    WATTS * i32::from(deciamps) + 10
}

/// Latency of one setpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// Time from the publish to the last byte of the frame.
    pub(crate) all: Duration,
    /// Whether a reply, or the pause after it, was in progress when the frame could have been sent.
    pub(crate) held: bool,
    /// The part of `all` that the bus did not require.
    pub(crate) ours: Duration,
    /// How late the harness itself was woken just before: what this machine does to every waiting program.
    pub(crate) late: Duration,
}

/// Lowers the setpoint this many times by a tenth of an ampere, at times that are independent of the polling.
pub(crate) fn latencies(line: &Line, home: &mut HomeAssistant, count: usize) -> anyhow::Result<Vec<Wait>> {
    let mut waits = Vec::new();
    let mut deciamps = BOTTOM;
    while waits.len() < count {
        if deciamps == BOTTOM {
            deciamps = TOP;
            thread::sleep(RISE_PAUSE);
            time(line, home, deciamps)?;
        }
        let wake = Instant::now() + Duration::from_micros(fastrand::u64(PAUSE_US));
        thread::sleep(wake.saturating_duration_since(Instant::now()));
        let late = wake.elapsed();
        deciamps -= 1;
        waits.push(Wait { late, ..time(line, home, deciamps)? });
    }
    Ok(waits)
}

fn time(line: &Line, home: &mut HomeAssistant, deciamps: u16) -> anyhow::Result<Wait> {
    // Discard writes caused by earlier samples.
    while line.written.try_recv().is_ok() {}
    let published = home.sample(watts_for(deciamps), line.drawn.load(Ordering::Relaxed))?;
    loop {
        let written = match line.written.recv_timeout(LATE) {
            Ok(written) => written,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                bail!("no setpoint of {deciamps} tenths of an ampere came")
            }
        };
        if written.deciamps == deciamps {
            let lawful = published.max(written.free_from);
            return Ok(Wait {
                all: written.at.saturating_duration_since(published),
                held: written.free_from > published,
                ours: written.at.saturating_duration_since(lawful),
                late: Duration::ZERO,
            });
        }
    }
}

/// Median, 99th percentile and maximum, in milliseconds.
pub(crate) fn spread(times: impl Iterator<Item = Duration>) -> Option<[f64; 3]> {
    let mut sorted: Vec<Duration> = times.collect();
    sorted.sort_unstable();
    let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1));
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    Some([ms(rank(50)?), ms(rank(99)?), ms(sorted.last()?)])
}
