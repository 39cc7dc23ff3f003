//! What is recorded.

use std::collections::BTreeMap;

use control::{
    Action, ChargerId, ChargerReport, ChargerView, Config, Doubt, Input, Milliamps, Mode, Percent, Reason, SiteView,
    Snapshot, Source, Tick, Watts,
};

/// One thing that went into the controller, came out of it, or helps to read the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// It was told this.
    Input(Input),
    /// It was told that time has passed.
    Timeout,
    /// It gave this.
    Action(Action),
    /// Its view of a charger changed.
    Decided(Decided),
    /// It took a sample of the site.
    Sample(Sample),
    /// The wall clock, in milliseconds since 1970 UTC. For people; nothing is decided by it.
    Wall(i64),
    /// The chargers' names.
    Names(BTreeMap<ChargerId, String>),
}

impl Record {
    /// Whether the controller is told something: what follows, up to the next of these, is its answer.
    pub const fn is_fact(&self) -> bool {
        match self {
            Self::Input(_) | Self::Timeout => true,
            Self::Action(_) | Self::Decided(_) | Self::Sample(_) | Self::Wall(_) | Self::Names(_) => false,
        }
    }
}

/// What is decided for a charger, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Which charger.
    pub charger: ChargerId,
    /// What the user asked for.
    pub mode: Mode,
    /// Current of mode `fixed`.
    pub fixed: Milliamps,
    /// What was decided.
    pub setpoint: Milliamps,
    /// Why.
    pub reason: Reason,
    /// Phases the car uses.
    pub phases: u8,
    /// Starts in the last 24 h.
    pub starts: u16,
}

impl Decided {
    /// What `view` says of a charger, but for its last report.
    pub const fn new(charger: ChargerId, view: &ChargerView) -> Self {
        let ChargerView { mode, fixed, setpoint, reason, phases, starts, .. } = *view;
        Self { charger, mode, fixed, setpoint, reason, phases, starts }
    }
}

/// What is decided for each charger.
pub fn chargers_decided(snapshot: &Snapshot) -> BTreeMap<ChargerId, Decided> {
    snapshot.chargers.iter().map(|(id, view)| (*id, Decided::new(*id, view))).collect()
}

/// A sample of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When its first message came.
    pub at: Tick,
    /// + import.
    pub grid: Option<Watts>,
    /// ≥ 0.
    pub solar: Option<Watts>,
    /// + discharging.
    pub battery: Option<Watts>,
    /// Including the chargers.
    pub load: Option<Watts>,
    /// Home battery.
    pub soc: Option<Percent>,
    /// Without the chargers.
    pub house: Option<Watts>,
    /// Solar − house.
    pub surplus: Option<Watts>,
    /// What the meters disagree by, once it is believed.
    pub imbalance: Option<Watts>,
    /// What is doubted of it.
    pub doubt: Option<Doubt>,
}

impl Sample {
    /// The last sample in a snapshot, if there was one.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let SiteView { grid, solar, battery, load, soc, house, surplus, age, imbalance, doubt, .. } = snapshot.site;
        let at = snapshot.at.before(age?);
        Some(Self { at, grid, solar, battery, load, soc, house, surplus, imbalance, doubt })
    }
}

/// How a batch relates to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The controller began here.
    Begin,
    /// It follows the batch before without a gap.
    Follows,
    /// So many records were dropped before it.
    Gap(u64),
}

/// All that was in force when a batch began, so that it can be understood without those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// When.
    pub tick: Tick,
    /// The wall clock then, in milliseconds since 1970 UTC.
    pub wall_ms: i64,
    /// The configuration in force.
    pub config: Config,
    /// The chargers' names.
    pub names: BTreeMap<ChargerId, String>,
    /// What was decided last.
    pub decided: BTreeMap<ChargerId, Decided>,
    /// What the chargers said last.
    pub reports: BTreeMap<ChargerId, ChargerReport>,
    /// When each charger was stopped last, if that is known.
    pub stopped: BTreeMap<ChargerId, Tick>,
    /// The newest value of each source.
    pub values: BTreeMap<Source, i32>,
    /// The last sample.
    pub sample: Option<Sample>,
}

impl Head {
    /// Nothing is known but the configuration.
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

    /// The wall clock at a record's time.
    pub fn wall_ms_at(&self, tick: Tick, record: &Record) -> i64 {
        if let Record::Wall(wall_ms) = record {
            return *wall_ms;
        }
        self.wall_ms.saturating_add(i64::try_from(tick.since(self.tick).0).unwrap_or(i64::MAX))
    }

    /// Goes on to a record's time and takes what it says.
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
                // As the controller does: a stored value that differs shows that something was missed.
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
