//! From the situation to a setpoint and its reason, for one charger. Pure functions, top down.

use crate::band::{Band, Lines, Trend};
use crate::charger::{Charger, Origin, blind_limit};
use crate::config::Config;
use crate::phases::Crossing;
use crate::reason::Reason;
use crate::types::{Link, Mode, Vehicle};
use crate::units::{Milliamps, Millis, Percent, Permille, Tick, Watts};

/// A charger without news for this long does not answer, whatever its last report said: three times the longest poll, and some.
const REPORTS_STOP: Millis = Millis::from_secs(75);

/// What a box connects when it does not connect one phase.
const ALL_PHASES: u8 = 3;

/// What brought the decision about. Starting, stopping and following the sun happen on news only, not by the mere passing of time:
/// the same sample must not be acted on twice.
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
pub(crate) struct Situation<'a> {
    pub(crate) now: Tick,
    pub(crate) trigger: Trigger,
    pub(crate) config: &'a Config,
    /// When the controller began.
    pub(crate) began: Tick,
    pub(crate) trend: Option<&'a Trend>,
    /// Its last sample shows the cars as they are now.
    pub(crate) settled: bool,
    pub(crate) soc: Option<Percent>,
    /// Nothing may come from the battery on purpose: little is left of its budget, or it is at its floor.
    pub(crate) battery_closed: bool,
    /// The battery has given the cars all it may within 24 hours.
    pub(crate) battery_spent: bool,
    /// The battery is to be filled first, and this much is kept for it.
    pub(crate) reserve: Watts,
    /// What other chargers have claimed of the surplus.
    pub(crate) claimed: Watts,
    /// What other chargers leave of the site's limit.
    pub(crate) site_left: Milliamps,
}

impl Situation<'_> {
    /// Age of the last sample; without any, time since the start.
    fn age(&self) -> Millis {
        self.now.since(self.trend.map_or(self.began, Trend::at))
    }
}

/// A decision.
type Decision = (Milliamps, Reason);

const fn off(reason: Reason) -> Decision {
    (Milliamps::ZERO, reason)
}

/// What this charger may draw now, and why.
pub(crate) fn decide(charger: &Charger, situation: &Situation<'_>) -> Decision {
    if let Some((setpoint, reason)) = blocked(charger, situation) {
        return limited(charger, situation, (setpoint.min(held_at_most(charger, situation)), reason));
    }
    let (wish, reason) = match charger.mode {
        Mode::Off => off(Reason::Off),
        Mode::Solar => solar(charger, situation),
        Mode::Slow => sighted(charger, situation, (charger.min(), Reason::Slow)),
        Mode::SlowSolar => slow_solar(charger, situation),
        Mode::Fast => on_all_phases(charger, situation, sighted(charger, situation, (charger.max(), Reason::Fast))),
        Mode::Fixed => {
            let current = charger.fixed.floor_to(charger.config.step).max(charger.min()).min(charger.max());
            on_all_phases(charger, situation, sighted(charger, situation, (current, Reason::Fixed)))
        }
    };
    if let Some(to) = charger.switch.underway()
        && wish > Milliamps::ZERO
    {
        let surplus = situation.trend.filter(|_| charger.mode == Mode::Solar);
        return off(Reason::SwitchingPhases { to, surplus: surplus.map(|trend| available(trend, situation)) });
    }
    if wish > Milliamps::ZERO
        && !charger.on()
        && let Some(left) = charger.min_off_left(situation.now, &situation.config.solar)
    {
        return off(Reason::MinimumOff { left });
    }
    limited(charger, situation, (wish, reason))
}

/// What makes charging impossible whatever the mode. These stops bypass the minimum-on time.
fn blocked(charger: &Charger, situation: &Situation<'_>) -> Option<Decision> {
    let Some(report) = charger.report else { return Some(off(Reason::Starting)) };
    match report.link {
        Link::Starting => return Some(off(Reason::Starting)),
        Link::ReadOnly => return Some(off(Reason::ReadOnly)),
        Link::Asleep => return Some(off(Reason::Asleep)),
        Link::Offline => return Some(unheard(charger, situation)),
        // Its line may hang without saying so.
        Link::Online if charger.silence(situation.now) > REPORTS_STOP => return Some(unheard(charger, situation)),
        Link::Online => {}
    }
    if let Some(fault) = report.fault {
        return Some(off(Reason::Fault(fault)));
    }
    if charger.origin == Origin::Unread {
        return Some(off(Reason::Starting));
    }
    match report.vehicle {
        Vehicle::Absent => Some(off(Reason::NoVehicle)),
        Vehicle::Unknown => Some((charger.setpoint, Reason::Starting)),
        Vehicle::Connected | Vehicle::Requesting | Vehicle::Charging => None,
    }
}

/// A setpoint that is only held, because the charger cannot be judged now, obeys mode and age of the data all the same.
fn held_at_most(charger: &Charger, situation: &Situation<'_>) -> Milliamps {
    let age = situation.age();
    let policy = &situation.config.fail_safe;
    if charger.mode == Mode::Off || age > policy.stop_after {
        let blind = blind_limit(charger.mode, situation.config).floor_to(charger.config.step);
        if blind < charger.min() { Milliamps::ZERO } else { blind }
    } else if charger.mode == Mode::Solar && age > policy.stale_after {
        charger.min()
    } else {
        charger.max()
    }
}

/// A charger that does not answer keeps its last setpoint for a while, so that a short silence does not cost a stop.
fn unheard(charger: &Charger, situation: &Situation<'_>) -> Decision {
    if charger.on() && charger.silence(situation.now) <= situation.config.fail_safe.stop_after {
        (charger.setpoint, Reason::Offline)
    } else {
        off(Reason::Offline)
    }
}

/// No charger above what it and the site may carry.
fn limited(charger: &Charger, situation: &Situation<'_>, (wish, reason): Decision) -> Decision {
    if wish == Milliamps::ZERO {
        return (wish, reason);
    }
    let idle = situation.config.chargers.len() > 1 && charger.idle(situation.now);
    let wish = if idle { wish.min(charger.min()) } else { wish };
    let limit = charger.max().min(situation.site_left).floor_to(charger.config.step);
    if limit < charger.min() {
        off(Reason::SiteLimit)
    } else if wish > limit {
        (limit, if limit < charger.max() { Reason::SiteLimit } else { reason })
    } else {
        (wish, reason)
    }
}

/// Modes that do not need the sun go on without data, at their blind limit.
fn sighted(charger: &Charger, situation: &Situation<'_>, (wish, reason): Decision) -> Decision {
    let age = situation.age();
    if age <= situation.config.fail_safe.stop_after {
        return (wish, reason);
    }
    let limit = blind_limit(charger.mode, situation.config).floor_to(charger.config.step);
    if limit < charger.min() {
        off(Reason::Blind { age })
    } else if wish > limit {
        (limit, Reason::Blind { age })
    } else {
        (wish, reason)
    }
}

/// Who asks for much gets all phases, if that can be had.
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
    let fresh = situation.trend.filter(|_| age <= situation.config.fail_safe.stale_after);
    let Some(trend) = fresh else {
        let reason = if situation.trend.is_some() { Reason::Stale { age } } else { Reason::NoData };
        return sighted(charger, situation, (charger.min(), reason));
    };
    if situation.trigger == Trigger::Time && charger.on() {
        return (charger.setpoint, charger.reason);
    }
    let surplus = available(trend, situation);
    let current = follow(charger, situation, surplus);
    let enough = surplus >= charger.power_of(charger.min());
    (current, if enough { Reason::Following { surplus } } else { Reason::SlowSolar { surplus } })
}

/// Surplus for this charger: what others have claimed, and what is kept for the battery, is not.
fn available(trend: &Trend, situation: &Situation<'_>) -> Watts {
    trend.surplus() - situation.claimed - situation.reserve
}

fn solar(charger: &Charger, situation: &Situation<'_>) -> Decision {
    let age = situation.age();
    let policy = &situation.config.fail_safe;
    let minimum = charger.setpoint.min(charger.min());
    if age > policy.stop_after {
        let blind = policy.blind_solar.floor_to(charger.config.step);
        return if charger.on() && blind >= charger.min() {
            (charger.setpoint.min(blind), Reason::Blind { age })
        } else {
            off(if situation.trend.is_some() { Reason::Blind { age } } else { Reason::NoData })
        };
    }
    let Some(trend) = situation.trend else {
        return match (charger.origin == Origin::Adopted, age > policy.stale_after) {
            (false, _) => off(Reason::NoData),
            (true, false) => (charger.setpoint, Reason::Adopted),
            (true, true) => (minimum, Reason::Stale { age }),
        };
    };
    if age > policy.stale_after {
        return (minimum, Reason::Stale { age });
    }
    if situation.trigger == Trigger::Time {
        return (charger.setpoint, charger.reason);
    }
    if situation.battery_spent {
        return without_battery(charger, situation);
    }
    if charger.on() { go_on(charger, situation, trend) } else { start(charger, situation, trend) }
}

/// The battery's budget is used up. Each cloud would take more of it before it is seen, so the car waits until some of it is back.
fn without_battery(charger: &Charger, situation: &Situation<'_>) -> Decision {
    match charger.min_on_left(situation.now, &situation.config.solar).filter(|_| charger.on()) {
        Some(left) => (charger.min(), Reason::MinimumOn { left }),
        None => off(Reason::BudgetUsed),
    }
}

/// Break-even share of sun: none may come from a battery that is closed.
fn share(situation: &Situation<'_>) -> Permille {
    if situation.battery_closed { Permille(1_000) } else { situation.config.solar.min_share }
}

/// When to start and to stop on so many phases.
fn lines(charger: &Charger, situation: &Situation<'_>, trend: &Trend, phases: u8) -> Lines {
    let minimum = charger.power_on(phases, charger.min());
    let band = Band::new(share(situation), situation.config.solar.start_cost, minimum);
    let lines = band.lines(trend, situation.claimed + situation.reserve);
    // The lower half of the band is paid by the battery, sample after sample: not when nothing may come from it.
    let stop_below = if situation.battery_closed { lines.stop_below.max(minimum) } else { lines.stop_below };
    Lines { stop_below, ..lines }
}

/// Where one phase and all of them are worth the same; `None` where there is no choice.
fn crossing(charger: &Charger, situation: &Situation<'_>, trend: &Trend) -> Option<Crossing> {
    if !charger.can_change() || starts_left(charger, situation) == 0 {
        return None;
    }
    let all_min = charger.power_on(charger.all_phases(), charger.min());
    let one_max = charger.power_on(1, charger.max());
    let crossing = Crossing::new(share(situation), one_max, all_min, trend, situation.claimed + situation.reserve);
    // What the mean would bridge, a closed battery would pay.
    let surplus = available(trend, situation);
    let closed = situation.battery_closed && surplus < all_min;
    Some(Crossing { decision: if closed { crossing.decision.min(surplus) } else { crossing.decision }, ..crossing })
}

fn starts_left(charger: &Charger, situation: &Situation<'_>) -> u16 {
    situation.config.solar.starts_per_day_max.saturating_sub(charger.starts.count(situation.now))
}

fn go_on(charger: &Charger, situation: &Situation<'_>, trend: &Trend) -> Decision {
    let surplus = available(trend, situation);
    let current = follow(charger, situation, surplus);
    let one_phase = charger.phases() == 1;
    let crossing = crossing(charger, situation, trend).filter(|_| charger.switch.allowed(situation.now));
    // All phases give way to one long before one gives way to none.
    let phases = if crossing.is_some() { 1 } else { charger.phases() };
    let lines = lines(charger, situation, trend, phases);
    let min_on_left = charger.min_on_left(situation.now, &situation.config.solar);
    if !lines.stops() {
        let change = match crossing {
            Some(crossing) if one_phase => (crossing.decision >= crossing.up_at).then_some(ALL_PHASES),
            Some(crossing) => (crossing.decision < crossing.down_below).then_some(1),
            None => None,
        };
        return match (change, min_on_left) {
            (Some(to), None) => off(Reason::SwitchingPhases { to, surplus: Some(surplus) }),
            (Some(_), Some(_)) | (None, _) => (current, on_sun(charger, surplus, lines)),
        };
    }
    if let Some(soc) = carries(charger, situation) {
        return (current, Reason::BatteryCarries { soc });
    }
    if let Some(left) = min_on_left {
        return (current, Reason::MinimumOn { left });
    }
    if situation.reserve > Watts::ZERO {
        return off(Reason::BatteryFirst { soc: situation.soc, below: situation.config.battery.priority_soc });
    }
    off(Reason::SunGone { surplus, stop_below: lines.stop_below })
}

/// Above `buffer-soc` the battery carries the car through a cloud; two points lower it lets go again. 100 means never.
fn carries(charger: &Charger, situation: &Situation<'_>) -> Option<Percent> {
    let buffer = situation.config.battery.buffer_soc.0;
    let soc = situation.soc?;
    let carried = matches!(charger.reason, Reason::BatteryCarries { .. });
    let from = if carried { buffer.saturating_sub(2) } else { buffer };
    (buffer < 100 && soc.0 >= from && !situation.battery_closed).then_some(soc)
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
    if !lines.starts() {
        return off(not_enough(charger, situation, surplus, lines));
    }
    let starts = charger.starts.count(situation.now);
    if starts >= situation.config.solar.starts_per_day_max {
        return off(Reason::StartsUsed { starts });
    }
    if change {
        return off(Reason::SwitchingPhases { to, surplus: Some(surplus) });
    }
    (charger.current_for(surplus), on_sun(charger, surplus, lines))
}

/// Why it does not start.
fn not_enough(charger: &Charger, situation: &Situation<'_>, surplus: Watts, lines: Lines) -> Reason {
    if situation.trigger == Trigger::Event && matches!(charger.reason, Reason::SunGone { .. }) {
        // The box confirms the stop; that is no new reason.
        return charger.reason;
    }
    let without_reserve = lines.before_start + situation.reserve >= lines.start_at;
    if situation.reserve > Watts::ZERO && without_reserve {
        Reason::BatteryFirst { soc: situation.soc, below: situation.config.battery.priority_soc }
    } else {
        Reason::TooLittleSun { surplus, start_at: lines.start_at }
    }
}

/// Why it charges: the sun gives enough for the minimum, or stopping would waste more.
fn on_sun(charger: &Charger, surplus: Watts, lines: Lines) -> Reason {
    if surplus >= charger.power_of(charger.min()) {
        Reason::Following { surplus }
    } else {
        Reason::Holding { surplus, stop_below: lines.stop_below }
    }
}

/// The setpoint is the surplus, at once in both directions. Only a rise by a single step waits until the samples show the cars as they are:
/// with meters that are read at different moments it would come and go with every sample.
fn follow(charger: &Charger, situation: &Situation<'_>, surplus: Watts) -> Milliamps {
    let current = charger.current_for(surplus);
    let step = charger.on() && current > charger.setpoint && current.0 - charger.setpoint.0 <= charger.config.step.0;
    if step && !situation.settled { charger.setpoint } else { current }
}
