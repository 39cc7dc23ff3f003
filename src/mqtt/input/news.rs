//! What users are told about the inputs: outages of a source, and silence of all. Each is reported when it begins and when it ends.

use std::fmt;

use control::{Millis, Source};

use crate::rate::left_out;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A source gives no data.
    Lost {
        /// The source.
        source: Source,
        /// The topic, what was received there, and why it is no data.
        why: String,
        /// Number of earlier outages that were not logged.
        more: u64,
    },
    /// The source gives data again.
    Back {
        /// The source.
        source: Source,
        /// How long it gave no data.
        after: Millis,
        /// Number of outages in the last hour, this one included.
        outages: usize,
    },
    /// A number of outages that were not logged one by one.
    More {
        /// The source.
        source: Source,
        /// Number of outages.
        count: u64,
    },
    /// Nothing has ever been received for a source, while others do send data.
    Missing {
        /// The source.
        source: Source,
        /// Where it was expected.
        topics: String,
    },
    /// Nothing usable comes from any source.
    Silent(String),
    /// Something usable comes again.
    SilenceOver {
        /// How long nothing usable came.
        after: Millis,
    },
}

impl News {
    /// Returns whether something has gone wrong, rather than recovered.
    pub const fn is_bad(&self) -> bool {
        match self {
            Self::Missing { source, .. } => !is_optional(*source),
            Self::Lost { .. } | Self::More { .. } | Self::Silent(_) => true,
            Self::Back { .. } | Self::SilenceOver { .. } => false,
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { source, why, more } => write!(f, "no data for {}: {why}{}", source.name(), left_out(*more)),
            Self::Back { source, after, outages } => {
                let (name, after) = (source.name(), span(*after));
                write!(
                    f,
                    "{name}: back after {after} without data ({outages} outage{} in the last hour)",
                    plural(*outages)
                )
            }
            Self::More { source, count } => {
                write!(f, "{}: {count} more outages that were not logged one by one", source.name())
            }
            Self::Missing { source, topics } if is_optional(*source) => {
                let name = source.name();
                write!(f, "no {name} on {topics}: it is optional, and the block for Home Assistant publishes it")
            }
            Self::Missing { source, topics } => {
                let name = source.name();
                write!(
                    f,
                    "nothing was received for {name} so far, not even a stored value, on {topics}: check the topic, or [inputs] \
                     site-name; a value that does not change is not published by Home Assistant"
                )
            }
            Self::Silent(report) => f.write_str(report),
            Self::SilenceOver { after } => write!(f, "site data is back after {}", span(*after)),
        }
    }
}

/// Returns whether the site can be judged without this source.
const fn is_optional(source: Source) -> bool {
    matches!(source, Source::GridStatus | Source::Heartbeat)
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Formats a duration for people: `40 s`, `12 min`, `3 h`.
pub(super) fn span(span: Millis) -> String {
    match span.0 / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
