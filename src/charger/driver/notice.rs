//! What the log is told. Every notice is an edge: it is said when something begins, changes or ends.

use std::fmt;

use control::{Milliamps, Millis};

use super::Trouble;
use crate::charger::codec::Failure;
use crate::charger::profile::Layout;
use crate::relay::Failure as RelayFailure;

/// News for the log; `Display` is the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The charger answers for the first time.
    Connected {
        /// Its register layout.
        layout: Layout,
        /// Its own lowest current.
        box_min: Milliamps,
        /// Its own highest current.
        box_max: Milliamps,
        /// Item number, date and serial number, if it tells.
        serial: Option<String>,
        /// The setpoint it was found with.
        setpoint: Option<Milliamps>,
    },
    /// The layout cannot be told a current.
    ReadOnly {
        /// What it has.
        layout: Layout,
        /// What it would need.
        needed: Layout,
    },
    /// The box's state has changed.
    State {
        /// Code and meaning.
        from: String,
        /// Code and meaning.
        to: String,
    },
    /// A new setpoint was read back.
    SetpointProven {
        /// The setpoint.
        setpoint: Milliamps,
    },
    /// The box does not keep a register, or does not let that be proven: no current until it is tried again.
    Refused {
        /// What the register is.
        title: String,
        /// Its address.
        address: u16,
        /// Raw value written.
        wanted: u16,
        /// Raw value read back; `None` where it cannot be read.
        found: Option<u16>,
    },
    /// The box has lost its settings.
    PowerCycle {
        /// How that was seen.
        sign: Sign,
    },
    /// After a power cycle everything is back in place.
    Restored,
    /// No order in time: safe current, then silence.
    Lapsed {
        /// The safe current.
        safe: Milliamps,
        /// There had been an order.
        ordered: bool,
    },
    /// Orders come again.
    Resumed,
    /// The charger does not answer.
    LinkLost {
        /// How the last try ended.
        failure: Failure,
    },
    /// The wallbox does not do what it should.
    Trouble(Trouble),
    /// It does not answer, which standby explains.
    Asleep,
    /// A charger that did not answer does again.
    Recovered {
        /// How long it did not.
        after: Millis,
    },
    /// The box is locked to wake the car.
    WakeStarted,
    /// It is unlocked again.
    WakeEnded,
    /// The car is not woken: this box, or its present state, does not allow it.
    WakeImpossible,
    /// Unlocked, as it may have been left locked by a wake-up that was not seen to its end.
    Unlocked,
    /// The phases are to be switched, but this box has nothing to do that with.
    NoPhaseSwitch,
    /// A change of phases was commanded.
    PhasesChanging {
        /// To so many.
        to: u8,
    },
    /// It is read back and has settled.
    PhasesChanged {
        /// So many are connected.
        phases: u8,
        /// How long it took.
        after: Millis,
    },
    /// The box declines to change the phases, or does not keep the command.
    PhasesRefused {
        /// So many were commanded.
        to: u8,
        /// So many are connected; `None` where that is not known.
        connected: Option<u8>,
    },
    /// A change of phases was not read back in time.
    PhasesNotConfirmed {
        /// So many were commanded.
        to: u8,
        /// So many are connected; `None` where that is not known.
        connected: Option<u8>,
    },
    /// It has been unknown for too long what is connected.
    PhasesUnknown,
    /// The relay does not answer for the contact that switches the phases, or does not keep it closed.
    ContactLost {
        /// Why.
        failure: RelayFailure,
    },
    /// The relay answers for it again.
    ContactBack,
    /// It is known again what is connected.
    PhasesKnown {
        /// So many.
        phases: u8,
    },
}

/// How a power cycle shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The counter of energy since power-on went back.
    CounterBack,
    /// The setpoint changed by itself.
    SetpointChanged,
    /// Watchdog or fail-safe changed by itself.
    SettingsLost,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For those who look closely.
    Debug,
    /// Worth a line.
    Info,
    /// Somebody should look.
    Warn,
}

/// What a notice is about: of many notices on one subject the newest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Whether it can be reached and controlled.
    Reachability,
    /// How many of its answers are lost.
    Reliability,
    /// What its car does.
    State,
    /// What it keeps of what is written.
    Settings,
    /// Whether there are decisions.
    Orders,
    /// Its lock.
    Lock,
    /// How many phases it has.
    Phases,
    /// The contact that switches them.
    Contact,
}

impl Notice {
    /// What it is about; `None` for what is said only to those who look closely.
    pub const fn subject(&self) -> Option<Subject> {
        Some(match self {
            Self::SetpointProven { .. } => return None,
            Self::Connected { .. }
            | Self::ReadOnly { .. }
            | Self::LinkLost { .. }
            | Self::Asleep
            | Self::Recovered { .. } => Subject::Reachability,
            Self::Trouble(trouble) => trouble.subject(),
            Self::State { .. } => Subject::State,
            Self::Refused { .. } | Self::PowerCycle { .. } | Self::Restored => Subject::Settings,
            Self::Lapsed { .. } | Self::Resumed => Subject::Orders,
            Self::WakeStarted | Self::WakeEnded | Self::WakeImpossible | Self::Unlocked => Subject::Lock,
            Self::NoPhaseSwitch
            | Self::PhasesChanging { .. }
            | Self::PhasesChanged { .. }
            | Self::PhasesRefused { .. }
            | Self::PhasesNotConfirmed { .. }
            | Self::PhasesUnknown
            | Self::PhasesKnown { .. } => Subject::Phases,
            Self::ContactLost { .. } | Self::ContactBack => Subject::Contact,
        })
    }

    /// How much it matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::Trouble(trouble) => trouble.level(),
            Self::SetpointProven { .. } => Level::Debug,
            Self::Connected { .. }
            | Self::State { .. }
            | Self::Restored
            | Self::Resumed
            | Self::Asleep
            | Self::Recovered { .. }
            | Self::WakeStarted
            | Self::WakeEnded
            | Self::Unlocked
            | Self::PhasesChanging { .. }
            | Self::PhasesChanged { .. }
            | Self::ContactBack
            | Self::PhasesKnown { .. } => Level::Info,
            Self::ReadOnly { .. }
            | Self::Refused { .. }
            | Self::PowerCycle { .. }
            | Self::Lapsed { .. }
            | Self::LinkLost { .. }
            | Self::WakeImpossible
            | Self::NoPhaseSwitch
            | Self::PhasesRefused { .. }
            | Self::PhasesNotConfirmed { .. }
            | Self::PhasesUnknown
            | Self::ContactLost { .. } => Level::Warn,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { layout, box_min, box_max, serial, setpoint } => {
                write!(f, "connected: register layout {layout}, box allows {box_min} to {box_max}")?;
                if let Some(setpoint) = setpoint {
                    write!(f, ", found at {setpoint}")?;
                }
                serial.as_ref().map_or(Ok(()), |serial| write!(f, ", {serial}"))
            }
            Self::ReadOnly { layout, needed } => write!(
                f,
                "can only be watched: register layout {layout} cannot be told a current, that needs {needed} (newer firmware)"
            ),
            Self::State { from, to } => write!(f, "state {from} → {to}"),
            Self::SetpointProven { setpoint } => write!(f, "setpoint {setpoint} read back"),
            Self::Refused { title, address, wanted, found: Some(found) } => {
                write!(
                    f,
                    "register {address} ({title}) stays at {found} although {wanted} was written: it is told not to charge"
                )
            }
            Self::Refused { title, address, wanted, found: None } => {
                write!(f, "register {address} ({title}) cannot be proven to hold {wanted}: it is told not to charge")
            }
            Self::PowerCycle { sign } => {
                let sign = match sign {
                    Sign::CounterBack => "its energy counter started anew",
                    Sign::SetpointChanged => "its setpoint changed by itself",
                    Sign::SettingsLost => "its settings changed by themselves",
                };
                write!(f, "the box was probably without power ({sign}): restoring everything")
            }
            Self::Restored => f.write_str("all settings and the setpoint are restored"),
            Self::Lapsed { safe, ordered: true } => {
                write!(f, "no decision in time: down to the safe current of {safe}, then silence until the next one")
            }
            Self::Lapsed { ordered: false, .. } => {
                f.write_str("no decision since the start: silent until there is one")
            }
            Self::Resumed => f.write_str("decisions come again"),
            Self::LinkLost { failure } => write!(f, "does not answer: {failure}"),
            Self::Trouble(trouble) => trouble.fmt(f),
            Self::Asleep => f.write_str("is in standby, it seems: it was last seen without a car, and answers nothing"),
            Self::Recovered { after } => write!(f, "answers again after {after}"),
            Self::WakeStarted => f.write_str("locked for some seconds to wake the car"),
            Self::WakeEnded => f.write_str("unlocked again"),
            Self::WakeImpossible => f.write_str("the car cannot be woken now"),
            Self::Unlocked => f.write_str("unlocked, as an interrupted wake-up may have left it locked"),
            Self::NoPhaseSwitch => {
                f.write_str("cannot switch phases: take `phase-switch` out of its table in the configuration")
            }
            Self::PhasesChanging { to } => write!(f, "changing to {}", count(*to)),
            Self::PhasesChanged { phases, after } => write!(f, "{} connected after {after}", count(*phases)),
            Self::PhasesRefused { to, connected } => {
                write!(f, "does not take the command to change to {}: {}", count(*to), Then(*connected))
            }
            Self::PhasesNotConfirmed { to, connected } => {
                let taken_back = if connected.is_some() { "the change is taken back, " } else { "" };
                write!(f, "has not changed to {} in time: {taken_back}{}", count(*to), Then(*connected))
            }
            Self::PhasesUnknown => {
                f.write_str("it is not known how many phases are connected: no charging until it is")
            }
            Self::ContactLost { failure } => write!(f, "the contact that switches its phases: {failure}"),
            Self::ContactBack => f.write_str("the contact that switches its phases is heard again"),
            Self::PhasesKnown { phases } => write!(f, "{} connected", count(*phases)),
        }
    }
}

/// How it goes on after a change that failed.
struct Then(Option<u8>);

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(phases) => write!(f, "going on with {}", count(phases)),
            None => f.write_str("no charging until it is known what is connected"),
        }
    }
}

const fn count(phases: u8) -> &'static str {
    match phases {
        1 => "one phase",
        3 => "three phases",
        _ => "another number of phases",
    }
}
