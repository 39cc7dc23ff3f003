//! From the situation to a setpoint and its reason, for one charger. Pure functions, top down.

mod belief;
mod limits;

use crate::band::{Band, Thresholds, Trend};
use crate::charger::{Charger, Origin};
use crate::config::{Config, FailSafe};
use crate::facts::{Fault, Mode, Reachability, Vehicle};
use crate::phases::PhaseThresholds;
use crate::ranges::POLL_MAX_S;
use crate::reason::Reason;
use crate::units::{Milliamps, Millis, Percent, Permille, Tick, Watts};
pub(crate) use belief::Belief;
use belief::{believed_rise, coarse, no_data, refused, time_passes};
use limits::{limited, nothing_off_grid, steady};

/// A charger without a report for this long does not answer, whatever its last report said: three times the longest poll interval, plus a
/// margin.
const REPORTS_STOP: Millis = Millis::from_secs(3 * POLL_MAX_S as u64 + 15);

/// While the house runs from the home battery, this much of the surplus is left to it.
const OFF_GRID_RESERVE: Watts = Watts(1_000);

/// Fresh samples matter when the surplus is within this of the start threshold.
const NEAR_START: Watts = Watts(1_000);

/// Number of phases connected when it is not one.
const ALL_PHASES: u8 = 3;

/// What triggered the decision. Starting, stopping and following the surplus happen only on new facts, not as time passes: the same sample
/// must not be acted on twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A new sample of the site.
    Sample,
    /// A command, a car plugged in, a charger that answers again.
    Event,
    /// Time has passed.
    Time,
}

/// Everything a decision rests on besides the charger itself.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state in disguise")]
pub(crate) struct Situation<'a> {
    pub(crate) now: Tick,
    pub(crate) trigger: Trigger,
    pub(crate) config: &'a Config,
    /// When the controller started.
    pub(crate) began: Tick,
    pub(crate) trend: Option<&'a Trend>,
    /// When the last sample was taken that showed the meters to be alive.
    pub(crate) sampled_at: Option<Tick>,
    /// Whether the trend's last sample shows the cars as they are now.
    pub(crate) settled: bool,
    pub(crate) belief: Belief,
    /// State of charge, and whether it was received live.
    pub(crate) soc: Option<Percent>,
    pub(crate) soc_live: bool,
    /// Whether nothing may deliberately be taken from the battery: little is left of its budget, or it is at its floor.
    pub(crate) battery_closed: bool,
    /// Whether the battery has given the cars all it may within 24 hours.
    pub(crate) battery_spent: bool,
    /// Power kept for the battery while it is to be filled first.
    pub(crate) reserve: Watts,
    /// Surplus claimed by other chargers.
    pub(crate) claimed: Watts,
    /// Current that other chargers leave of the site's limit.
    pub(crate) site_left: Milliamps,
}

impl Situation<'_> {
    /// Returns the age of the last sample; without any, the time since the start.
    fn age(&self) -> Millis {
        self.now.since(self.sampled_at.unwrap_or(self.began))
    }
}

/// A decision.
type Decision = (Milliamps, Reason);

const fn off(reason: Reason) -> Decision {
    (Milliamps::ZERO, reason)
}

/// Decides what this charger may draw now, and why.
pub(crate) fn decide(charger: &Charger, situation: &Situation<'_>) -> Decision {
    match standing(charger, situation) {
        Standing::Blocked(reason) => off(reason),
        // A charger that cannot be judged now is lowered with the data like any other, but not raised.
        Standing::Unclear(reason) => {
            let (wish, _) = wish(charger, situation);
            limited(charger, situation, (wish.min(charger.setpoint), reason))
        }
        Standing::Ready => ready(charger, situation),
    }
}

/// Whether a setpoint can be decided for a charger.
enum Standing {
    /// Charging is impossible whatever the mode. These stops bypass the minimum-on time.
    Blocked(Reason),
    /// Its state is unknown. A short silence is no reason to stop.
    Unclear(Reason),
    Ready,
}

fn standing(charger: &Charger, situation: &Situation<'_>) -> Standing {
    let Some(report) = charger.report else { return Standing::Blocked(Reason::Starting) };
    match report.link {
        Reachability::Starting => return Standing::Blocked(Reason::Starting),
        Reachability::ReadOnly => return Standing::Blocked(Reason::ReadOnly),
        Reachability::Asleep => return Standing::Blocked(Reason::Asleep),
        Reachability::Offline => return unheard(charger, situation),
        // Its bus may hang without reporting an error.
        Reachability::Online if charger.silence(situation.now) > REPORTS_STOP => return unheard(charger, situation),
        Reachability::Online => {}
    }
    if let Some(fault) = report.fault {
        return Standing::Blocked(Reason::Fault(fault));
    }
    if charger.origin == Origin::Unread {
        return Standing::Blocked(Reason::Starting);
    }
    if let Some(reason) = charger.car.stops(charger.mode, situation.now) {
        return Standing::Blocked(reason);
    }
    match charger.vehicle(situation.now) {
        Vehicle::Absent => Standing::Blocked(Reason::NoVehicle),
        Vehicle::Unknown => Standing::Unclear(Reason::UnknownState),
        Vehicle::Connected | Vehicle::Requesting | Vehicle::Charging => Standing::Ready,
    }
}

fn unheard(charger: &Charger, situation: &Situation<'_>) -> Standing {
    let unusable = charger.report.and_then(|report| report.fault).filter(|fault| *fault == Fault::Unusable);
    let reason = unusable.map_or(Reason::Offline, Reason::Fault);
    if charger.on() && charger.silence(situation.now) <= situation.config.fail_safe.stop_after {
        Standing::Unclear(reason)
    } else {
        Standing::Blocked(reason)
    }
}

/// Returns what the mode asks for.
fn wish(charger: &Charger, situation: &Situation<'_>) -> Decision {
    match charger.mode {
        Mode::Off => off(Reason::Off),
        Mode::Solar => solar(charger, situation),
        Mode::Slow => sighted(charger, situation, (charger.min(), Reason::Slow)),
        Mode::SlowSolar => slow_solar(charger, situation),
        Mode::Fast => on_all_phases(charger, situation, sighted(charger, situation, (charger.max(), Reason::Fast))),
        Mode::Fixed => {
            let current = charger.fixed.floor_to(charger.config.step).max(charger.min()).min(charger.max());
            on_all_phases(charger, situation, sighted(charger, situation, (current, Reason::Fixed)))
        }
    }
}

fn ready(charger: &Charger, situation: &Situation<'_>) -> Decision {
    let (wish, reason) = wish(charger, situation);
    if let Some(to) = charger.switch.underway()
        && wish > Milliamps::ZERO
    {
        let surplus = situation.trend.filter(|_| charger.mode == Mode::Solar);
        return off(Reason::SwitchingPhases { to, surplus: surplus.map(|trend| available(trend, situation)) });
    }
    if wish > Milliamps::ZERO && nothing_off_grid(charger, situation) {
        return off(Reason::OffGrid);
    }
    if wish > Milliamps::ZERO
        && !charger.on()
        && let Some(left) = charger.min_off_left(situation.now, &situation.config.solar)
    {
        return off(Reason::MinimumOff { left: coarse(left) });
    }
    limited(charger, situation, steady(charger, situation, (wish, reason)))
}

/// Lets modes that do not need surplus continue without data, at their blind limit.
fn sighted(charger: &Charger, situation: &Situation<'_>, (wish, reason): Decision) -> Decision {
    let age = situation.age();
    if age <= situation.config.fail_safe.stop_after {
        return (wish, reason);
    }
    let limit = blind_limit(charger.mode, &situation.config.fail_safe).floor_to(charger.config.step);
    if limit < charger.min() {
        off(Reason::Blind { age })
    } else if wish > limit {
        (limit, Reason::Blind { age })
    } else {
        (wish, reason)
    }
}

/// Switches to three phases first where the mode asks for more than solar and the charger can.
fn on_all_phases(charger: &Charger, situation: &Situation<'_>, (wish, reason): Decision) -> Decision {
    let missing = charger.can_change() && charger.connected() == 1 && charger.switch.allowed(situation.now);
    if wish > Milliamps::ZERO && missing {
        off(Reason::SwitchingPhases { to: ALL_PHASES, surplus: None })
    } else {
        (wish, reason)
    }
}

fn slow_solar(charger: &Charger, situation: &Situation<'_>) -> Decision {
    let age = situation.age();
    if let Some(doubt) = situation.belief.refused {
        return sighted(charger, situation, (charger.min(), Reason::Doubted { doubt }));
    }
    let fresh = situation.trend.filter(|_| age <= situation.belief.stale_after);
    let Some(trend) = fresh else {
        let reason = if situation.trend.is_some() { Reason::Stale { age } } else { no_data(situation) };
        return sighted(charger, situation, (charger.min(), reason));
    };
    if situation.trigger == Trigger::Time && charger.on() {
        return time_passes(charger, situation);
    }
    let surplus = available(trend, situation);
    let (current, doubt) = believed_rise(charger, situation, follow(charger, situation, surplus));
    let enough = surplus >= charger.power_of(charger.min());
    let reason = if enough { Reason::Following { surplus } } else { Reason::SlowSolar { surplus } };
    (current.max(charger.min()), doubt.unwrap_or(reason))
}

/// Returns the power that is not surplus for this charger: claimed by others, or kept for the battery.
fn taken(situation: &Situation<'_>) -> Watts {
    let left_to_battery = if situation.belief.off_grid { OFF_GRID_RESERVE } else { Watts::ZERO };
    situation.claimed + situation.reserve + left_to_battery
}

/// Returns the surplus for this charger.
fn available(trend: &Trend, situation: &Situation<'_>) -> Watts {
    trend.surplus() - taken(situation)
}

fn solar(charger: &Charger, situation: &Situation<'_>) -> Decision {
    let age = situation.age();
    let policy = &situation.config.fail_safe;
    let minimum = charger.setpoint.min(charger.min());
    if situation.battery_spent {
        return without_battery(charger, situation);
    }
    if age > policy.stop_after {
        let blind = policy.blind_solar.floor_to(charger.config.step);
        return if charger.on() && blind >= charger.min() {
            (charger.setpoint.min(blind), Reason::Blind { age: coarse(age) })
        } else if situation.trend.is_some() && situation.belief.doubt.is_none() && situation.belief.too_slow.is_none() {
            off(Reason::Blind { age: coarse(age) })
        } else {
            off(no_data(situation))
        };
    }
    if let Some(doubt) = situation.belief.refused {
        return refused(charger, situation, doubt);
    }
    // A charge that was found running is judged by the first sample after that.
    let Some(trend) = situation.trend.filter(|_| charger.origin != Origin::Adopted) else {
        return match (charger.origin == Origin::Adopted, age > situation.belief.stale_after) {
            (false, _) => off(no_data(situation)),
            (true, false) => (charger.setpoint, Reason::Adopted),
            (true, true) => (minimum, Reason::Stale { age: coarse(age) }),
        };
    };
    if age > situation.belief.stale_after {
        return (minimum, Reason::Stale { age: coarse(age) });
    }
    if situation.trigger == Trigger::Time {
        return time_passes(charger, situation);
    }
    if charger.on() { go_on(charger, situation, trend) } else { start(charger, situation, trend) }
}

/// Decides once the battery's budget is used up. Each cloud would take more from the battery before a sample shows it, so the car waits
/// until part of the budget is available again.
fn without_battery(charger: &Charger, situation: &Situation<'_>) -> Decision {
    match charger.min_on_left(situation.now, &situation.config.solar).filter(|_| charger.on()) {
        Some(left) => (charger.min(), Reason::MinimumOn { left }),
        None => off(Reason::BudgetUsed),
    }
}

/// Returns the break-even solar share; nothing may come from a closed battery.
fn share(situation: &Situation<'_>) -> Permille {
    if situation.battery_closed { Permille(1_000) } else { situation.config.solar.min_share }
}

/// Returns the thresholds for starting and stopping on the given number of phases.
fn lines(charger: &Charger, situation: &Situation<'_>, trend: &Trend, phases: u8) -> Thresholds {
    let minimum = charger.power_on(phases, charger.min());
    let band = Band::new(share(situation), situation.config.solar.start_cost, minimum);
    let lines = band.lines(trend, taken(situation));
    // The battery pays for the lower half of the band, sample after sample, so that half is cut off when nothing may come from it.
    let stop_below = if situation.battery_closed { lines.stop_below.max(minimum) } else { lines.stop_below };
    Thresholds { stop_below, ..lines }
}

/// Returns the thresholds around the surplus at which one phase and all of them are worth the same; `None` if there is no choice.
fn crossing(charger: &Charger, situation: &Situation<'_>, trend: &Trend) -> Option<PhaseThresholds> {
    if !charger.can_change() || starts_left(charger, situation) == 0 {
        return None;
    }
    let all_min = charger.power_on(charger.all_phases(), charger.min());
    let one_max = charger.power_on(1, charger.max());
    let crossing = PhaseThresholds::new(share(situation), one_max, all_min, trend, taken(situation));
    // A closed battery would have to pay for what the mean bridges.
    let surplus = available(trend, situation);
    let closed = situation.battery_closed && surplus < all_min;
    Some(PhaseThresholds {
        decision: if closed { crossing.decision.min(surplus) } else { crossing.decision },
        ..crossing
    })
}

fn starts_left(charger: &Charger, situation: &Situation<'_>) -> u16 {
    situation.config.solar.starts_per_day_max.saturating_sub(charger.starts.count(situation.now))
}

fn go_on(charger: &Charger, situation: &Situation<'_>, trend: &Trend) -> Decision {
    if !charger.car.contactor.is_closed() && starts_left(charger, situation) == 0 {
        // The car would start again by itself.
        return off(Reason::StartsUsed { starts: charger.starts.count(situation.now) });
    }
    let surplus = available(trend, situation);
    let (current, doubted) = believed_rise(charger, situation, follow(charger, situation, surplus));
    let one_phase = charger.phases() == 1;
    let crossing = crossing(charger, situation, trend).filter(|_| charger.switch.allowed(situation.now));
    // The switch from all phases to one comes long before the stop on one.
    let phases = if crossing.is_some() { 1 } else { charger.phases() };
    let lines = lines(charger, situation, trend, phases);
    let min_on_left = charger.min_on_left(situation.now, &situation.config.solar);
    if !lines.stops() {
        let change = match crossing {
            Some(crossing) if one_phase => {
                (situation.belief.may_rise && crossing.decision >= crossing.up_at).then_some(ALL_PHASES)
            }
            Some(crossing) => (crossing.decision < crossing.down_below).then_some(1),
            None => None,
        };
        return match (change, min_on_left) {
            (Some(to), None) => off(Reason::SwitchingPhases { to, surplus: Some(surplus) }),
            (Some(_), Some(_)) | (None, _) => (current, doubted.unwrap_or(on_sun(charger, surplus, lines, trend))),
        };
    }
    if let Some(soc) = carries(charger, situation) {
        return (current, Reason::BatteryCarries { soc });
    }
    if let Some(left) = min_on_left {
        return (current, Reason::MinimumOn { left: coarse(left) });
    }
    if let Some(doubt) = situation.belief.explains(lines.stop_below - lines.before_stop) {
        return off(Reason::Doubted { doubt });
    }
    if situation.reserve > Watts::ZERO {
        return off(Reason::BatteryFirst { soc: situation.soc, below: situation.config.battery.priority_soc });
    }
    off(Reason::SunGone { surplus, stop_below: lines.stop_below })
}

/// Returns the state of charge if the battery carries the car through a cloud: from `buffer-soc` upwards, until it is two points lower. 100
/// means never.
fn carries(charger: &Charger, situation: &Situation<'_>) -> Option<Percent> {
    let buffer = situation.config.battery.buffer_soc.0;
    let soc = situation.soc?;
    let carried = matches!(charger.reason, Reason::BatteryCarries { .. });
    let from = if carried { buffer.saturating_sub(2) } else { buffer };
    (buffer < 100 && soc.0 >= from && situation.soc_live && situation.belief.may_rise && !situation.battery_closed)
        .then_some(soc)
}

fn start(charger: &Charger, situation: &Situation<'_>, trend: &Trend) -> Decision {
    let surplus = available(trend, situation);
    let crossing = crossing(charger, situation, trend);
    let on_one = lines(charger, situation, trend, 1);
    let on_all = lines(charger, situation, trend, charger.all_phases());
    let connected = if charger.phases() == 1 { 1 } else { ALL_PHASES };
    let to = crossing.map_or(connected, |crossing| {
        let all = crossing.decision >= crossing.up_from_rest_at && on_all.starts();
        if all { ALL_PHASES } else { 1 }
    });
    let change = to != connected && charger.change_allowed_at_rest(situation.now);
    let lines = if (change && to == 1) || connected == 1 { on_one } else { on_all };
    if let Some(every) = situation.belief.too_slow {
        return off(Reason::SlowSamples { every, limit: situation.config.fail_safe.stop_after });
    }
    if let Some(doubt) = situation.belief.doubt.filter(|_| !situation.belief.may_rise) {
        return off(Reason::Doubted { doubt });
    }
    if !lines.starts() {
        if let Some(doubt) = situation.belief.explains(lines.start_at - lines.before_start) {
            return off(Reason::Doubted { doubt });
        }
        return off(not_enough(charger, situation, surplus, lines));
    }
    if let Some(age) = situation.belief.unchanged {
        return off(Reason::Stale { age: coarse(age) });
    }
    let starts = charger.starts.count(situation.now);
    if starts >= situation.config.solar.starts_per_day_max {
        return off(Reason::StartsUsed { starts });
    }
    if let Some(left) = charger.car.uptake.withheld(situation.now) {
        return off(Reason::Withheld { left });
    }
    if change {
        return off(Reason::SwitchingPhases { to, surplus: Some(surplus) });
    }
    (charger.current_for(surplus), on_sun(charger, surplus, lines, trend))
}

/// Returns why it does not start.
fn not_enough(charger: &Charger, situation: &Situation<'_>, surplus: Watts, lines: Thresholds) -> Reason {
    if situation.trigger == Trigger::Event && matches!(charger.reason, Reason::SunGone { .. }) {
        // The wallbox only confirms the stop, which is no new reason.
        return charger.reason;
    }
    let without_reserve = lines.before_start + situation.reserve >= lines.start_at;
    if situation.reserve > Watts::ZERO && without_reserve {
        Reason::BatteryFirst { soc: situation.soc, below: situation.config.battery.priority_soc }
    } else {
        Reason::TooLittleSun { surplus, start_at: lines.start_at }
    }
}

/// Returns why it charges: the surplus is enough for the minimum, or stopping would waste more.
fn on_sun(charger: &Charger, surplus: Watts, lines: Thresholds, trend: &Trend) -> Reason {
    if surplus >= charger.power_of(charger.min()) {
        Reason::Following { surplus }
    } else {
        let (mean, stop_below) = (lines.before_stop, lines.stop_below);
        Reason::Holding { surplus, mean, stop_below, left: lines.stops_after(trend).map(coarse) }
    }
}

/// Returns the setpoint that follows the surplus, less what the car steadily draws beyond its setpoint, immediately in both directions.
/// Only a rise by a single step waits until the samples show the cars as they are: with meters read at different moments it would come and
/// go with every sample.
fn follow(charger: &Charger, situation: &Situation<'_>, surplus: Watts) -> Milliamps {
    let meant = charger.current_for(surplus);
    let told = (meant - charger.car.overdraw.excess()).floor_to(charger.config.step);
    let current = told.max(charger.min().min(meant));
    let step = charger.on() && current > charger.setpoint && current - charger.setpoint <= charger.config.step;
    if step && !situation.settled { charger.setpoint } else { current }
}

/// Whether fresh samples would help: while a car follows the surplus, near its start threshold, and where the next sample may end a doubt.
pub(crate) fn wants_fresh_samples(charger: &Charger, doubt_may_pass: bool) -> bool {
    let plugged = charger.report.is_some_and(|report| {
        report.link == Reachability::Online
            && matches!(report.vehicle, Vehicle::Connected | Vehicle::Requesting | Vehicle::Charging)
    });
    let near = if let Reason::TooLittleSun { surplus, start_at } = charger.reason {
        surplus + NEAR_START >= start_at
    } else {
        let doubted = matches!(charger.reason, Reason::Doubted { .. }) && doubt_may_pass;
        charger.on() || doubted || matches!(charger.reason, Reason::NoData { .. })
    };
    plugged && near && matches!(charger.mode, Mode::Solar | Mode::SlowSolar)
}

/// Returns the limit of a mode without data.
const fn blind_limit(mode: Mode, policy: &FailSafe) -> Milliamps {
    match mode {
        Mode::Off => Milliamps::ZERO,
        Mode::Solar => policy.blind_solar,
        Mode::Slow | Mode::SlowSolar => policy.blind_slow,
        Mode::Fast => policy.blind_fast,
        Mode::Fixed => policy.blind_fixed,
    }
}
