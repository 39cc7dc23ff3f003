//! What a recorded run reveals about sun, house, car and user, whatever the controller did with it: enough to replay it with other
//! settings.

use control::{ChargerId, Command, Config, Input, Milliamps, Millis, Tick, Vehicle, Watts};

use crate::cli::when::second_of_day;
use crate::journal::reader::{ReadError, Reader, Run};
use crate::journal::{Decided, Head, Record, Sample};
use crate::simulate::{Trace, TraceRow};

/// The car counts as drawing power from this value upwards; less is the wallbox's own consumption.
const DRAWS: Watts = Watts(100);
/// Reports further apart than this say nothing about what the car drew in between.
const REPORT_HOLDS: Millis = Millis::from_secs(60);

/// A change at the charger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    /// The car arrived, or left.
    Plugged(bool),
    /// The user sent a command.
    Told(Command),
}

/// What the charger really did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) car_wh: f64,
    pub(super) charging_s: f64,
    pub(super) starts: u32,
}

/// A recorded run.
#[derive(Debug)]
pub(super) struct Past {
    /// The configuration in force at the beginning, with the mode that the user had chosen.
    pub(super) config: Config,
    pub(super) charger: ChargerId,
    pub(super) trace: Trace,
    /// By second, in ascending order.
    pub(super) happened: Vec<(u32, Happened)>,
    /// The usual interval between samples.
    pub(super) period_s: u32,
    /// The home battery's charge at the first sample, in percent, if there is a battery.
    pub(super) soc: Option<u8>,
    /// How much energy the car took until it was full, if that was recorded.
    pub(super) wants_wh: Option<f64>,
    pub(super) measured: Measured,
    /// Whether the configuration changed during the run.
    pub(super) reconfigured: bool,
    pub(super) chargers: usize,
    /// Number of unreadable batches, whose content is missing.
    pub(super) unreadable: usize,
}

impl Past {
    /// Reads a run; `None` if too little is recorded: fewer than two samples, or no charger.
    pub(super) fn read(reader: &Reader, run: &Run) -> Result<Option<Self>, ReadError> {
        let mut collector: Option<Collector> = None;
        let mut unreadable = 0;
        for id in reader.batches(run.id)? {
            let batch = match reader.batch(id) {
                Ok(batch) => batch,
                Err(ReadError::Damaged { .. }) => {
                    unreadable += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if collector.is_none() {
                collector = Collector::begin(&batch.head);
            }
            let Some(collector) = &mut collector else { return Ok(None) };
            // A batch begins with everything in force, also after a gap.
            collector.head = batch.head.clone();
            for record in batch.records() {
                let Ok((tick, record)) = record else {
                    unreadable += 1;
                    break;
                };
                collector.record(tick, &record);
            }
        }
        Ok(collector.and_then(Collector::finish).map(|past| Self { unreadable, ..past }))
    }
}

/// Collects what is needed as the records go by.
struct Collector {
    config: Config,
    charger: ChargerId,
    first: Tick,
    midnight_s: u32,
    head: Head,
    rows: Vec<TraceRow>,
    happened: Vec<(u32, Happened)>,
    soc: Option<u8>,
    plugged: Option<bool>,
    drew: Option<(Tick, Watts)>,
    wants_wh: Option<f64>,
    measured: Measured,
    reconfigured: bool,
}

impl Collector {
    fn begin(head: &Head) -> Option<Self> {
        let mut config = head.config.clone();
        let charger = *config.chargers.keys().next()?;
        choose(&mut config, head.decided.get(&charger));
        let plugged = head.reports.get(&charger).and_then(|report| plugged(report.vehicle));
        Some(Self {
            config,
            charger,
            first: head.tick,
            midnight_s: second_of_day(head.wall_ms),
            head: head.clone(),
            rows: Vec::new(),
            happened: plugged.map(|plugged| (0, Happened::Plugged(plugged))).into_iter().collect(),
            soc: None,
            plugged,
            drew: None,
            wants_wh: None,
            measured: Measured::default(),
            reconfigured: false,
        })
    }

    /// Seconds from midnight of the first day.
    fn second(&self, at: Tick) -> u32 {
        self.midnight_s.saturating_add(u32::try_from(at.since(self.first).0 / 1_000).unwrap_or(u32::MAX))
    }

    fn record(&mut self, tick: Tick, record: &Record) {
        match record {
            Record::Sample(sample) => self.sample(sample),
            Record::Input(Input::Report(report)) if report.charger == self.charger => {
                if let Some(power) = report.power {
                    self.drawn(tick, power);
                }
                let offered = self.head.decided.get(&self.charger).is_some_and(|d| d.setpoint > Milliamps::ZERO);
                if report.vehicle == Vehicle::Connected && offered && self.measured.starts > 0 {
                    self.wants_wh = Some(self.measured.car_wh);
                } else if report.vehicle == Vehicle::Charging {
                    self.wants_wh = None;
                }
                let now = plugged(report.vehicle);
                if now.is_some() && now != self.plugged {
                    self.plugged = now;
                    let happened = Happened::Plugged(now.unwrap_or(false));
                    self.happened.push((self.second(tick), happened));
                }
            }
            Record::Input(Input::Command(command)) => {
                if let Some(command) = for_all(*command, self.charger) {
                    self.happened.push((self.second(tick), Happened::Told(command)));
                }
            }
            Record::Input(Input::Restore(restore)) if restore.charger == self.charger && self.rows.is_empty() => {
                if let Some(charger) = self.config.chargers.get_mut(&self.charger) {
                    charger.mode = restore.mode;
                    charger.fixed = restore.fixed;
                }
            }
            Record::Input(Input::Reconfigure(_)) => self.reconfigured = true,
            Record::Input(_)
            | Record::Timeout
            | Record::Action(_)
            | Record::Decided(_)
            | Record::Wall(_)
            | Record::Names(_) => {}
        }
        self.head.apply(tick, record);
    }

    /// The power of other chargers counts as house load here.
    fn sample(&mut self, sample: &Sample) {
        let Some(surplus) = sample.surplus else { return };
        let others = self.head.reports.iter().filter(|(id, _)| **id != self.charger);
        let others: i32 = others.filter_map(|(_, report)| report.power).map(|power| power.0).sum();
        let solar = sample.solar.map_or(surplus.0.max(0), |solar| solar.0);
        let watts = |watts: i32| {
            #[expect(clippy::cast_precision_loss, reason = "some ten thousand watts are exact")]
            let watts = watts as f32;
            watts
        };
        let from_s = self.second(sample.at);
        let row = TraceRow { from_s, solar_w: watts(solar), house_w: watts(solar - surplus.0 + others) };
        if self.rows.last().is_some_and(|last| last.from_s >= from_s) {
            self.rows.pop();
        }
        self.rows.push(row);
        self.soc = self.soc.or(sample.soc.map(|soc| soc.0));
    }

    fn drawn(&mut self, tick: Tick, power: Watts) {
        if let Some((before, drew)) = self.drew {
            #[expect(clippy::cast_precision_loss, reason = "a minute at most")]
            let pause_s = tick.since(before).min(REPORT_HOLDS).0 as f64 / 1e3;
            if drew > DRAWS {
                self.measured.car_wh += f64::from(drew.0) * pause_s / 3_600.0;
                self.measured.charging_s += pause_s;
            }
        }
        let drew_before = self.drew.is_some_and(|(_, drew)| drew > DRAWS);
        self.measured.starts += u32::from(power > DRAWS && !drew_before);
        self.drew = Some((tick, power));
    }

    fn finish(self) -> Option<Past> {
        let mut spacings: Vec<u32> =
            self.rows.iter().zip(self.rows.iter().skip(1)).map(|(row, next)| next.from_s - row.from_s).collect();
        spacings.sort_unstable();
        let period_s = *spacings.get(spacings.len() / 2)?;
        let end_s = self.second(self.head.tick);
        let first_s = self.rows.first()?.from_s;
        let mut happened = self.happened;
        for (at_s, _) in &mut happened {
            *at_s = (*at_s).max(first_s);
        }
        Some(Past {
            charger: self.charger,
            trace: Trace::from_rows(self.rows, end_s).ok()?,
            happened,
            period_s: period_s.min(3_600),
            soc: self.soc,
            wants_wh: self.wants_wh,
            measured: self.measured,
            reconfigured: self.reconfigured,
            chargers: self.config.chargers.len(),
            unreadable: 0,
            config: self.config,
        })
    }
}

/// Keeps the user's choice across a new configuration.
fn choose(config: &mut Config, decided: Option<&Decided>) {
    if let (Some(decided), Some(charger)) = (decided, config.chargers.values_mut().next()) {
        charger.mode = decided.mode;
        charger.fixed = decided.fixed;
    }
}

/// Turns a command for this charger or for all into one for all: the new configuration may number its chargers differently.
fn for_all(command: Command, charger: ChargerId) -> Option<Command> {
    let to = |only: Option<ChargerId>| only.is_none_or(|only| only == charger);
    match command {
        Command::Mode { charger, mode } => to(charger).then_some(Command::Mode { charger: None, mode }),
        Command::FixedCurrent { charger, current } => {
            to(charger).then_some(Command::FixedCurrent { charger: None, current })
        }
    }
}

/// Whether a car is plugged in, if known.
const fn plugged(vehicle: Vehicle) -> Option<bool> {
    match vehicle {
        Vehicle::Absent => Some(false),
        Vehicle::Connected | Vehicle::Requesting | Vehicle::Charging => Some(true),
        Vehicle::Unknown => None,
    }
}
