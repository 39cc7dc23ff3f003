//! One charger as the controller sees it: the user's wish, the last decision, and the wallbox's reports.

use crate::budget::Starts;
use crate::car::Car;
use crate::config::ChargerConfig;
use crate::config::SolarPolicy;
use crate::facts::{ChargerId, ChargerReport, Mode, Reachability, Vehicle};
use crate::history::PowerHistory;
use crate::power::{MAINS, PowerCheck};
use crate::ranges::WATCHDOG_MAX_S;
use crate::reason::Reason;
use crate::switching::PhaseChange;
use crate::units::{Milliamps, Millis, Tick, Volts, Watts};
use crate::view::ChargerView;

/// Nominal voltage where none is measured.
const NOMINAL: Volts = Volts(230);
/// A phase counts as carrying current from this value upwards.
const PHASE_CARRIES: Milliamps = Milliamps(1_000);
/// Phases are counted while the strongest one carries at least this.
const PHASES_COUNT_FROM: Milliamps = Milliamps(4_000);
/// Power below this is the wallbox's own consumption.
const AT_REST: Watts = Watts(100);
/// Number of reports in a row that must agree before the number of phases changes.
const PHASES_AGREE: u8 = 5;
/// Most wake-up pulses per stay of a car.
const WAKES_MAX: u8 = 2;
/// A car that has taken nothing of its offer for this long leaves all but the minimum to others.
const IDLE_AFTER: Millis = Millis::from_secs(300);

/// Time after which a car has followed a lower setpoint and the reports show it.
const CAR_FOLLOWS: Millis = Millis::from_secs(20);

/// After the longest watchdog time without a first answer, a wallbox will not answer soon; until then the others keep what they have.
pub(crate) const FIRST_ANSWER: Millis = Millis::from_secs(WATCHDOG_MAX_S as u64);

/// Where the setpoint comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The wallbox's setpoint has not been read yet: nothing is ordered.
    Unread,
    /// A charge was found running at start and has not been judged yet.
    Adopted,
    /// The controller decided it.
    Decided,
}

/// State of one charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charger {
    pub(crate) id: ChargerId,
    pub(crate) config: ChargerConfig,
    pub(crate) mode: Mode,
    pub(crate) fixed: Milliamps,
    /// The setpoint decided last; 0 is off.
    pub(crate) setpoint: Milliamps,
    pub(crate) reason: Reason,
    pub(crate) report: Option<ChargerReport>,
    /// The setpoint last read back from the wallbox.
    told: Option<Milliamps>,
    /// The highest setpoint decided since then: orders may have arrived although no answer has.
    ordered_since: Milliamps,
    pub(crate) history: PowerHistory,
    pub(crate) power: PowerCheck,
    /// The highest recent setpoint before the last decrease, and when that decrease came.
    left_setpoint: Option<(Milliamps, Tick)>,
    pub(crate) starts: Starts,
    pub(crate) started_at: Option<Tick>,
    pub(crate) stopped_at: Option<Tick>,
    /// Whether it was charging before a restart and the end of that charge is not known yet.
    pub(crate) may_have_run: bool,
    /// When the setpoint last changed.
    pub(crate) moved_at: Option<Tick>,
    /// When it last answered.
    pub(crate) heard_at: Option<Tick>,
    pub(crate) origin: Origin,
    pub(crate) switch: PhaseChange,
    /// Number of phases that the car uses of those it is given.
    car_phases: u8,
    phases_seen: (u8, u8),
    charged_since_start: bool,
    waiting_since: Option<Tick>,
    wakes: u8,
    pub(crate) car: Car,
}

impl Charger {
    pub(crate) const fn new(id: ChargerId, config: ChargerConfig) -> Self {
        Self {
            id,
            config,
            mode: config.mode,
            fixed: config.fixed,
            setpoint: Milliamps::ZERO,
            reason: Reason::Starting,
            report: None,
            told: None,
            ordered_since: Milliamps::ZERO,
            history: PowerHistory::new(),
            power: PowerCheck::new(),
            left_setpoint: None,
            starts: Starts::new(),
            started_at: None,
            stopped_at: None,
            may_have_run: false,
            moved_at: None,
            heard_at: None,
            origin: Origin::Unread,
            switch: PhaseChange::new(),
            car_phases: config.phases,
            phases_seen: (0, 0),
            charged_since_start: false,
            waiting_since: None,
            wakes: 0,
            car: Car::new(),
        }
    }

    /// Sets the mode chosen by the user.
    pub(crate) fn choose(&mut self, mode: Mode) {
        if mode != self.mode {
            self.car.uptake.asked();
        }
        self.mode = mode;
    }

    /// Takes a report from the wallbox. A charge found running when the setpoint is first read is adopted as it is.
    pub(crate) fn report(&mut self, report: ChargerReport, now: Tick) {
        if matches!(report.link, Reachability::Online | Reachability::ReadOnly) {
            self.heard_at = Some(now);
        }
        if let Some(setpoint) = report.setpoint {
            self.told = Some(setpoint);
            self.ordered_since = self.setpoint;
        }
        let power = self.power.believed(&report, self.ceiling(now), self.voltage());
        self.history.measured(
            matches!(report.link, Reachability::Online | Reachability::ReadOnly) && power.is_some(),
            power,
            now,
        );
        if let Some(power) = power {
            self.history.push(report.at, power);
        }
        let merged = if matches!(report.link, Reachability::Offline | Reachability::Asleep) {
            ChargerReport { box_max: self.box_max(), box_min: self.box_min(), ..report }
        } else {
            report
        };
        self.report = Some(merged);
        self.count_phases(&merged);
        self.switch.follow(merged.connected, self.at_rest(), now);
        self.follow_vehicle(&merged, now);
        if self.origin == Origin::Unread && report.link == Reachability::Online {
            self.adopt(&report, now);
        }
        if self.car.follow(&merged, self.drawn(), now) {
            self.starts.note(now);
        }
    }

    /// Returns the highest current the wallbox may recently have offered, once its setpoint has been read.
    fn ceiling(&self, now: Tick) -> Option<Milliamps> {
        self.told.map(|told| told.max(self.setpoint).max(self.left_lately(now).unwrap_or(Milliamps::ZERO)))
    }

    /// Returns the highest setpoint that was lowered so recently that the car may still draw it.
    fn left_lately(&self, now: Tick) -> Option<Milliamps> {
        self.left_setpoint.filter(|(_, at)| now.since(*at) <= CAR_FOLLOWS).map(|(setpoint, _)| setpoint)
    }

    fn adopt(&mut self, report: &ChargerReport, now: Tick) {
        let Some(found) = report.setpoint else { return };
        self.origin = Origin::Decided;
        let runs = report.vehicle == Vehicle::Charging
            || report.vehicle == Vehicle::Unknown && self.drawn().is_some_and(|drawn| drawn >= PHASE_CARRIES);
        if runs && found >= self.min() {
            self.setpoint = found.min(self.max()).floor_to(self.config.step);
            self.started_at = Some(now);
            self.origin = Origin::Adopted;
            self.charged_since_start = true;
        } else if self.may_have_run {
            // The charge may have continued until just now.
            self.stopped_at = Some(now);
        }
        self.may_have_run = false;
        self.car.offered(self.setpoint, now);
    }

    /// Returns the current of the strongest phase, measured or calculated from the power; `None` if neither is known.
    fn drawn(&self) -> Option<Milliamps> {
        let report = self.report?;
        let strongest = report.currents.and_then(|currents| currents.into_iter().max());
        strongest.or_else(|| {
            let per_amp = self.voltage() * i64::from(self.phases().max(1));
            let milliamps = i64::from(report.power?.positive().0) * 1_000 / per_amp;
            u32::try_from(milliamps).ok().map(Milliamps)
        })
    }

    /// Counts the phases that the car uses of those it is given, by its currents: voltages are present on every wired phase.
    fn count_phases(&mut self, report: &ChargerReport) {
        if report.vehicle == Vehicle::Absent {
            self.car_phases = self.config.phases;
            self.phases_seen = (0, 0);
        }
        let Some(currents) = report.currents else { return };
        let strongest = currents.iter().max().copied().unwrap_or(Milliamps::ZERO);
        if !matches!(report.vehicle, Vehicle::Charging | Vehicle::Unknown) || strongest < PHASES_COUNT_FROM {
            self.phases_seen = (0, 0);
            return;
        }
        let carrying = currents.iter().filter(|current| **current >= PHASE_CARRIES).count();
        let carrying = u8::try_from(carrying).unwrap_or(3);
        let times = if self.phases_seen.0 == carrying { self.phases_seen.1.saturating_add(1) } else { 1 };
        self.phases_seen = (carrying, times);
        // On one phase every car uses one, which does not show how many it would use of three.
        if times >= PHASES_AGREE && (carrying < self.connected() || carrying > self.car_phases) {
            self.car_phases = carrying;
        }
    }

    /// Returns the number of phases that the wallbox connects, as far as that can change; all of them if it is not known.
    pub(crate) fn connected(&self) -> u8 {
        let read = self.report.and_then(|report| report.connected);
        read.filter(|_| self.config.switching.is_some()).unwrap_or(3)
    }

    /// Returns the most phases that car and wallbox can use together.
    pub(crate) const fn all_phases(&self) -> u8 {
        self.car_phases
    }

    /// Whether its number of phases can change and the car would use more than one.
    pub(crate) fn can_change(&self) -> bool {
        self.config.switching.is_some() && self.car_phases > 1
    }

    /// Whether the number of phases may change at rest. Without a charge in between, one change does not directly follow another.
    pub(crate) fn change_allowed_at_rest(&self, now: Tick) -> bool {
        let used = self.switch.changed_at().is_none_or(|at| self.started_at.is_some_and(|start| start >= at));
        self.switch.allowed(now) && (used || self.switch.settled(now))
    }

    /// Whether no current flows and the wallbox's setpoint is 0, so that the number of phases may change.
    fn at_rest(&self) -> bool {
        let Some(report) = self.report else { return false };
        let small = report.power.is_none_or(|power| power < AT_REST)
            && report.currents.is_none_or(|currents| currents.iter().all(|current| *current < PHASE_CARRIES));
        let measured = report.power.is_some() || report.currents.is_some();
        let idle = report.link == Reachability::Online && report.vehicle != Vehicle::Charging && measured && small;
        idle && !self.on() && report.setpoint == Some(Milliamps::ZERO)
    }

    /// Returns the number of phases to order, where it can change.
    pub(crate) fn phases_to_order(&self) -> Option<u8> {
        self.config.switching?;
        self.switch.order(self.report.and_then(|report| report.connected), self.at_rest())
    }

    fn follow_vehicle(&mut self, report: &ChargerReport, now: Tick) {
        match report.vehicle {
            Vehicle::Absent => {
                self.wakes = 0;
                self.waiting_since = None;
            }
            Vehicle::Charging => {
                self.charged_since_start = true;
                self.waiting_since = None;
            }
            Vehicle::Connected => {
                self.waiting_since = self.waiting_since.or(Some(now));
            }
            Vehicle::Requesting | Vehicle::Unknown => {}
        }
    }

    /// Whether a wake-up pulse is due: current has been offered, the car has not asked, and it has not charged since the start.
    pub(crate) fn wake_due(&mut self, now: Tick) -> bool {
        let (Some(after), Some(since), Some(started)) = (self.config.wake_after, self.waiting_since, self.started_at)
        else {
            return false;
        };
        let quiet = self.report.is_some_and(|report| {
            report.link == Reachability::Online
                && report.vehicle == Vehicle::Connected
                && report.fault.is_none()
                && !report.waking
        });
        let offered = self.setpoint > Milliamps::ZERO && now.since(started) >= after && now.since(since) >= after;
        if !quiet || !offered || self.charged_since_start || self.wakes >= WAKES_MAX {
            return false;
        }
        self.wakes += 1;
        self.waiting_since = Some(now);
        true
    }

    /// Puts a decision into force.
    pub(crate) fn set(&mut self, setpoint: Milliamps, reason: Reason, now: Tick) {
        assert!(
            setpoint == Milliamps::ZERO || setpoint >= Milliamps::PILOT_MIN,
            "a car cannot be offered less than 6 A"
        );
        self.reason = reason;
        if let Reason::SwitchingPhases { to, .. } = reason
            && self.change_allowed_at_rest(now)
        {
            self.switch.begin(to);
        }
        if setpoint == self.setpoint {
            return;
        }
        if self.setpoint == Milliamps::ZERO {
            self.started_at = Some(now);
            self.charged_since_start = false;
        } else if setpoint == Milliamps::ZERO {
            self.stopped_at = Some(now);
        }
        if setpoint < self.setpoint {
            let left = self.left_lately(now).map_or(self.setpoint, |left| left.max(self.setpoint));
            self.left_setpoint = Some((left, now));
        }
        self.moved_at = Some(now);
        self.setpoint = setpoint;
        self.ordered_since = self.ordered_since.max(setpoint);
        self.car.offered(setpoint, now);
    }

    pub(crate) const fn on(&self) -> bool {
        self.setpoint.0 > 0
    }

    /// Whether it draws more than the wallbox's own consumption.
    pub(crate) fn is_drawing(&self, now: Tick) -> bool {
        self.history.at(now).is_some_and(|power| power >= AT_REST)
    }

    /// Returns the time left until it may start again, which is longer after a stop that was followed by a change of phases.
    pub(crate) fn min_off_left(&self, now: Tick, policy: &SolarPolicy) -> Option<Millis> {
        let stopped = self.stopped_at?;
        let changed = self.switch.changed_at().is_some_and(|at| at >= stopped);
        let pause = self.config.switching.filter(|_| changed).map_or(Millis(0), |switching| switching.pause);
        left(stopped, policy.min_off.max(pause), now)
    }

    /// Returns the time left until it may stop again.
    pub(crate) fn min_on_left(&self, now: Tick, policy: &SolarPolicy) -> Option<Millis> {
        left(self.started_at?, policy.min_on, now)
    }

    fn box_max(&self) -> Option<Milliamps> {
        self.report.and_then(|report| report.box_max)
    }

    fn box_min(&self) -> Option<Milliamps> {
        self.report.and_then(|report| report.box_min)
    }

    /// Returns the highest current allowed.
    pub(crate) fn max(&self) -> Milliamps {
        self.box_max().map_or(self.config.max, |max| max.min(self.config.max)).floor_to(self.config.step)
    }

    /// Returns the lowest current other than 0; in `solar`, which offers no more than the surplus, the lowest that the car takes.
    pub(crate) fn min(&self) -> Milliamps {
        let set = self.box_min().map_or(self.config.min, |min| min.max(self.config.min)).max(Milliamps::PILOT_MIN);
        let seen = self.car.uptake.worthwhile().filter(|seen| self.mode == Mode::Solar && *seen <= self.max());
        seen.map_or(set, |seen| seen.max(set))
    }

    /// Returns the number of phases that the car uses of those it is given now.
    pub(crate) fn phases(&self) -> u8 {
        self.car_phases.min(self.connected())
    }

    /// Returns the mains voltage as measured by the wallbox, or otherwise the nominal one.
    fn voltage(&self) -> i64 {
        let measured = self.report.and_then(|report| report.voltages).unwrap_or([NOMINAL; 3]);
        let wired = measured.iter().filter(|volts| MAINS.contains(&volts.0));
        let (sum, count) = wired.fold((0, 0), |(sum, count), volts| (sum + i64::from(volts.0), count + 1));
        if count == 0 { i64::from(NOMINAL.0) } else { sum / count }
    }

    /// Returns the power of a current on the phases used now.
    pub(crate) fn power_of(&self, current: Milliamps) -> Watts {
        self.power_on(self.phases(), current)
    }

    /// Returns the power of a current on the given number of phases.
    pub(crate) fn power_on(&self, phases: u8, current: Milliamps) -> Watts {
        let milliwatts = i64::from(current.0) * self.voltage() * i64::from(phases.max(1));
        Watts(i32::try_from(milliwatts / 1_000).unwrap_or(i32::MAX))
    }

    /// Returns the current that draws at most `power`, within the charger's limits, rounded down.
    pub(crate) fn current_for(&self, power: Watts) -> Milliamps {
        let per_amp = self.voltage() * i64::from(self.phases().max(1));
        let milliamps = i64::from(power.positive().0) * 1_000 / per_amp;
        let current = Milliamps(u32::try_from(milliamps).unwrap_or(u32::MAX)).floor_to(self.config.step);
        current.max(self.min()).min(self.max())
    }

    /// Returns the time since its last answer; the maximum if it has never answered.
    pub(crate) fn silence(&self, now: Tick) -> Millis {
        self.heard_at.map_or(Millis(u64::MAX), |at| now.since(at))
    }

    /// Returns an upper bound on the current drawn: the highest of its setpoint, the last one read back, and those ordered since, until the
    /// wallbox reports otherwise or has certainly fallen back by itself: our requests may feed the watchdog of one whose answers do not
    /// arrive. One that never answered may be at its maximum. A read-only wallbox gives a car whatever it asks for.
    pub(crate) fn may_draw(&self) -> Milliamps {
        let unheard = if self.may_still_run() { self.config.max } else { Milliamps::ZERO };
        let told = if self.released() { self.config.safe } else { self.told().max(self.ordered_since).max(unheard) };
        let car = self.report.is_some_and(|report| report.vehicle != Vehicle::Absent);
        let watched =
            if self.only_watched() && car { self.box_max().unwrap_or(self.config.max) } else { Milliamps::ZERO };
        let most = self.setpoint.max(told).max(watched);
        most.max(self.car.overdraw.beyond(most))
    }

    /// Returns the setpoint last read back from the wallbox; 0 if there is none.
    pub(crate) fn told(&self) -> Milliamps {
        self.told.unwrap_or(Milliamps::ZERO)
    }

    /// Whether nothing is known of the wallbox, which may have been charging since before the start. One that sleeps has no car.
    pub(crate) fn may_still_run(&self) -> bool {
        let quiet =
            self.report.is_some_and(|report| matches!(report.link, Reachability::Asleep | Reachability::ReadOnly));
        self.origin == Origin::Unread && !quiet && !self.released()
    }

    /// Whether nothing was sent to the wallbox for longer than its watchdog time.
    pub(crate) fn released(&self) -> bool {
        self.report.is_some_and(|report| report.released)
    }

    /// Whether the car has been offered current for minutes without taking it: most likely it is full.
    pub(crate) fn idle(&self, now: Tick) -> bool {
        self.car.uptake.left_for(now).is_some_and(|span| span >= IDLE_AFTER)
    }

    /// Returns the state of the car as the wallbox reports it, or as the current shows it where the wallbox does not.
    pub(crate) fn vehicle(&self, now: Tick) -> Vehicle {
        self.car.vehicle(self.report.map_or(Vehicle::Unknown, |report| report.vehicle), now)
    }

    /// Whether it answers but its current cannot be set.
    pub(crate) fn only_watched(&self) -> bool {
        self.report.is_some_and(|report| report.link == Reachability::ReadOnly)
    }

    /// Returns what it drew at `at`; an unknown draw counts as 0, which leaves less surplus.
    pub(crate) fn drew_at(&self, at: Tick) -> Watts {
        self.history.at(at).unwrap_or(Watts::ZERO)
    }

    /// Returns what it draws now; if that is not measured, the most it may be drawing, unless the car is known to draw nothing.
    pub(crate) fn draws(&self, now: Tick) -> Watts {
        let idle = |report: &ChargerReport| {
            matches!(report.vehicle, Vehicle::Absent | Vehicle::Connected | Vehicle::Requesting)
        };
        let unmeasured = || {
            let idle = self.report.as_ref().is_some_and(idle);
            if idle { Watts::ZERO } else { self.power_of(self.may_draw()) }
        };
        self.history.at(now).unwrap_or_else(unmeasured)
    }

    pub(crate) fn view(&self, now: Tick) -> ChargerView {
        ChargerView {
            mode: self.mode,
            fixed: self.fixed,
            setpoint: self.setpoint,
            reason: self.reason,
            report: self.report,
            phases: self.phases(),
            starts: self.starts.count(now),
            overdrawn: self.car.overdraw.seen(),
            needs: self.car.uptake.needs(),
            box_limit: self.box_max().filter(|max| *max < self.config.max),
            power_doubted: self.power.doubted(),
        }
    }

    /// Takes a new configuration; the user's mode and a running charge stay.
    pub(crate) fn reconfigure(&mut self, config: ChargerConfig) {
        if self.car_phases == self.config.phases {
            self.car_phases = config.phases;
        }
        self.config = config;
        self.fixed = self.fixed.max(config.min).min(config.max);
    }
}

fn left(since: Tick, span: Millis, now: Tick) -> Option<Millis> {
    let left = span.0.saturating_sub(now.since(since).0);
    (left > 0).then_some(Millis(left))
}
