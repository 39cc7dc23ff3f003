//! The types of everything that is recorded.

use std::collections::BTreeMap;

use control::{
    Action, ChargerId, ChargerReport, ChargerView, Config, Doubt, Input, Milliamps, Mode, Percent, Reason, SiteView,
    Snapshot, Source, Tick, Watts,
};

/// One input or output of the controller, or information that helps to read the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An input to the controller.
    Input(Input),
    /// The controller handled a timeout.
    Timeout,
    /// An action that the controller requested.
    Action(Action),
    /// The controller's view of a charger changed.
    Decided(Decided),
    /// The controller took a sample of the site.
    Sample(Sample),
    /// The wall clock, in milliseconds since 1970 UTC. For display only; no decision depends on it.
    Wall(i64),
    /// The chargers' names.
    Names(BTreeMap<ChargerId, String>),
}

impl Record {
    /// Whether this is a fact passed to the controller. The records up to the next fact are the controller's answer.
    pub const fn is_fact(&self) -> bool {
        match self {
            Self::Input(_) | Self::Timeout => true,
            Self::Action(_) | Self::Decided(_) | Self::Sample(_) | Self::Wall(_) | Self::Names(_) => false,
        }
    }
}

/// The controller's decision for a charger, and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Which charger.
    pub charger: ChargerId,
    /// Mode that the user chose.
    pub mode: Mode,
    /// Current of mode `fixed`.
    pub fixed: Milliamps,
    /// Current per phase allowed to the car.
    pub setpoint: Milliamps,
    /// Why it was decided.
    pub reason: Reason,
    /// Phases the car uses.
    pub phases: u8,
    /// Starts in the last 24 h.
    pub starts: u16,
}

impl Decided {
    /// Extracts the decision from a charger's view, without its last report.
    pub const fn new(charger: ChargerId, view: &ChargerView) -> Self {
        let ChargerView { mode, fixed, setpoint, reason, phases, starts, .. } = *view;
        Self { charger, mode, fixed, setpoint, reason, phases, starts }
    }
}

/// Extracts the decision for each charger.
pub fn chargers_decided(snapshot: &Snapshot) -> BTreeMap<ChargerId, Decided> {
    snapshot.chargers.iter().map(|(id, view)| (*id, Decided::new(*id, view))).collect()
}

/// A sample of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When the first message of the sample came.
    pub at: Tick,
    /// Grid power: + import.
    pub grid: Option<Watts>,
    /// Solar power: ≥ 0.
    pub solar: Option<Watts>,
    /// Battery power: + discharging.
    pub battery: Option<Watts>,
    /// The whole house, including the chargers.
    pub load: Option<Watts>,
    /// State of charge of the home battery.
    pub soc: Option<Percent>,
    /// The load without the chargers.
    pub house: Option<Watts>,
    /// Solar − house.
    pub surplus: Option<Watts>,
    /// By how much the meters disagree, once that is believed.
    pub imbalance: Option<Watts>,
    /// Why the sample is doubted, if it is.
    pub doubt: Option<Doubt>,
}

impl Sample {
    /// Returns the last sample in a snapshot, if there was one.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let SiteView { grid, solar, battery, load, soc, house, surplus, age, imbalance, doubt, .. } = snapshot.site;
        let at = snapshot.at.before(age?);
        Some(Self { at, grid, solar, battery, load, soc, house, surplus, imbalance, doubt })
    }
}

/// How a batch relates to the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The controller began here.
    Begin,
    /// The batch follows the previous one without a gap.
    Follows,
    /// This number of records was dropped before the batch.
    Gap(u64),
}

/// Everything that was in force when a batch began, so that it can be understood without the previous ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// When the batch began.
    pub tick: Tick,
    /// The wall clock at that time, in milliseconds since 1970 UTC.
    pub wall_ms: i64,
    /// The configuration in force.
    pub config: Config,
    /// The chargers' names.
    pub names: BTreeMap<ChargerId, String>,
    /// The last decision for each charger.
    pub decided: BTreeMap<ChargerId, Decided>,
    /// The last report of each charger.
    pub reports: BTreeMap<ChargerId, ChargerReport>,
    /// When each charger was last stopped, if known.
    pub stopped: BTreeMap<ChargerId, Tick>,
    /// The newest value of each source.
    pub values: BTreeMap<Source, i32>,
    /// The last sample.
    pub sample: Option<Sample>,
}

impl Head {
    /// Creates a head that knows nothing but the configuration.
    pub const fn new(tick: Tick, wall_ms: i64, config: Config, names: BTreeMap<ChargerId, String>) -> Self {
        Self {
            tick,
            wall_ms,
            config,
            names,
            decided: BTreeMap::new(),
            reports: BTreeMap::new(),
            stopped: BTreeMap::new(),
            values: BTreeMap::new(),
            sample: None,
        }
    }

    /// Returns the wall clock at a record's time.
    pub fn wall_ms_at(&self, tick: Tick, record: &Record) -> i64 {
        if let Record::Wall(wall_ms) = record {
            return *wall_ms;
        }
        self.wall_ms.saturating_add(i64::try_from(tick.since(self.tick).0).unwrap_or(i64::MAX))
    }

    /// Advances to a record's time and applies its contents.
    pub fn apply(&mut self, tick: Tick, record: &Record) {
        self.wall_ms = self.wall_ms_at(tick, record);
        self.tick = tick.max(self.tick);
        match record {
            Record::Input(input) => self.input(input),
            Record::Decided(decided) => {
                let before = self.decided.insert(decided.charger, *decided);
                if decided.setpoint == Milliamps::ZERO && before.is_some_and(|old| old.setpoint > Milliamps::ZERO) {
                    self.stopped.insert(decided.charger, tick);
                }
            }
            Record::Sample(sample) => self.sample = Some(*sample),
            Record::Names(names) => self.names.clone_from(names),
            Record::Timeout | Record::Action(_) | Record::Wall(_) => {}
        }
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Reading(reading) => match reading.value {
                // As the controller does: a retained value that differs shows that a message was missed.
                Some(value) if reading.retained => {
                    if self.values.get(&reading.source).is_some_and(|held| *held != value) {
                        self.values.remove(&reading.source);
                    }
                }
                Some(value) => {
                    self.values.insert(reading.source, value);
                }
                None => {
                    self.values.remove(&reading.source);
                }
            },
            Input::Report(report) => {
                self.reports.insert(report.charger, *report);
            }
            Input::Restore(restore) => {
                if let Some(ago) = restore.stopped_ago {
                    self.stopped.insert(restore.charger, self.tick.before(ago));
                }
            }
            Input::Reconfigure(config) => {
                self.config = config.clone();
                self.decided.retain(|id, _| config.chargers.contains_key(id));
                self.reports.retain(|id, _| config.chargers.contains_key(id));
                self.stopped.retain(|id, _| config.chargers.contains_key(id));
            }
            Input::Command(_) | Input::CarryOver(_) => {}
        }
    }
}
