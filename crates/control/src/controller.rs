//! The controller: takes facts and time, keeps the state, calls `decide` for each charger, and issues orders.

use alloc::collections::{BTreeMap, VecDeque};

use crate::band::Trend;
use crate::battery_charge_limit::BatteryChargeLimit;
use crate::budget::DrainBudget;
use crate::charger::{Charger, Origin};
use crate::config::Config;
use crate::decide::{Belief, Situation, Trigger, decide, wants_fresh_samples};
use crate::facts::{ChargerId, ChargerReport, Mode, Reading, Source};
use crate::history::AGES;
use crate::input::{CarryOver, ChargerCarryOver, Command, Input, Restore};
use crate::judge::cadence::Cadence;
use crate::judge::evidence::{CarsThen, Evidence, Moved, both, seconds, spread};
use crate::judge::{Doubt, Judge, Trust};
use crate::meter_delay::{MeterDelay, add_trail};
use crate::orders::{Action, Order, Wake};
use crate::sample::Sample;
use crate::sharing::{claimed_by_others, site_left};
use crate::site::{Cars, Site};
use crate::units::{Millis, Tick, Watts};
use crate::view::{SiteView, Snapshot};

/// Interval at which orders are renewed; each renewal is a completed decision.
const RENEW_EVERY: Millis = Millis::from_secs(1);
/// How long an order is valid. Ten missed decisions in a row are more than a hiccup.
const ORDER_VALID: Millis = Millis::from_secs(10);
/// Cars whose power moves by no more than this around a sample are steady.
const STEADY: Watts = Watts(150);
/// Time within which a car has followed its setpoint (a second to react, then 2 A per second; starts excepted).
const FOLLOWED_AFTER: Millis = Millis::from_secs(4);
/// Within this time, or twice the sample interval if that is shorter, meters have been read again and have repeated unchanged values.
const REREAD: Millis = Millis::from_secs(60);
/// More pending actions than this mean that the shell does not drain them.
const ACTIONS_MAX: usize = 256;

/// Decides which current each car may draw. See the crate's documentation for the contract.
#[derive(Debug, Clone)]
pub struct Controller {
    config: Config,
    began: Tick,
    now: Tick,
    site: Site,
    trend: Option<Trend>,
    /// When the last sample was taken that showed the meters to be alive.
    sampled_at: Option<Tick>,
    judge: Judge,
    cadence: Cadence,
    /// What the last sample may be used for, and the doubt about it.
    trust: (Trust, Option<Doubt>),
    meter_delay: MeterDelay,
    /// House power according to the last sample.
    house: Option<Watts>,
    drain: DrainBudget,
    battery_charge_limit: BatteryChargeLimit,
    chargers: BTreeMap<ChargerId, Charger>,
    renew_at: Tick,
    refreshed_at: Option<Tick>,
    actions: VecDeque<Action>,
}

impl Controller {
    /// Creates a controller that starts at `now` and knows nothing of the site yet.
    pub fn new(config: Config, now: Tick) -> Self {
        let chargers = config.chargers.iter().map(|(id, charger)| (*id, Charger::new(*id, *charger))).collect();
        Self {
            began: now,
            now,
            site: Site::new(),
            trend: None,
            sampled_at: None,
            judge: Judge::new(),
            cadence: Cadence::new(),
            trust: (Trust::Believed, None),
            meter_delay: MeterDelay::new(config.sampling.meter_age),
            house: None,
            drain: DrainBudget::new(config.battery.drain_budget),
            battery_charge_limit: BatteryChargeLimit::new(),
            chargers,
            renew_at: now,
            refreshed_at: None,
            actions: VecDeque::new(),
            config,
        }
    }

    /// Takes an input. Ticks never go backwards: an earlier `now` counts as the latest one seen.
    pub fn handle(&mut self, input: Input, now: Tick) {
        self.now = now.max(self.now);
        self.settle();
        match input {
            Input::Reading(reading) => self.reading(reading),
            Input::Report(report) => self.report(report),
            Input::Command(command) => self.command(command),
            Input::Restore(restore) => self.restore(restore),
            Input::Reconfigure(config) => self.reconfigure(config),
            Input::CarryOver(carried) => self.take_over(&carried),
        }
    }

    /// Returns what counts towards the 24-hour limits at `now`.
    pub fn carry_over(&self, now: Tick) -> CarryOver {
        let now = now.max(self.now);
        let charger = |charger: &Charger| {
            let started = charger.started_at.filter(|_| charger.on());
            let under_way = charger.car.contactor.under_way(started, now);
            ChargerCarryOver {
                starts: charger.starts.left(now).into_iter().chain(under_way).collect(),
                may_run: charger.on() || charger.may_have_run,
            }
        };
        CarryOver {
            drained: Some(self.drain.counted(now)),
            chargers: self.chargers.iter().map(|(id, known)| (*id, charger(known))).collect(),
        }
    }

    /// Handles the passing of time. Call at the tick that [`Self::poll_timeout`] returned, or later.
    pub fn handle_timeout(&mut self, now: Tick) {
        self.now = now.max(self.now);
        self.settle();
        if self.now >= self.renew_at {
            self.renew_at = self.now + RENEW_EVERY;
            for charger in self.chargers.values_mut() {
                charger.switch.expire(self.now);
            }
            self.decide_all(Trigger::Time);
            self.wake_cars();
            self.ask_for_samples();
            for id in self.chargers.keys().copied().collect::<alloc::vec::Vec<_>>() {
                self.order(id);
            }
        }
    }

    /// Returns when, and why, [`Self::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<(Tick, Wake)> {
        match self.site.burst_deadline(&self.config) {
            Some(settle) if settle < self.renew_at => Some((settle, Wake::Settle)),
            Some(_) | None => Some((self.renew_at, Wake::Renew)),
        }
    }

    /// Returns the next action; `None` when there are no more.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns what is known and decided.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            at: self.now,
            site: self.site_view(),
            chargers: self.chargers.iter().map(|(id, charger)| (*id, charger.view(self.now))).collect(),
        }
    }

    fn reading(&mut self, reading: Reading) {
        self.site.cars(self.cars());
        let off_grid = self.site.off_grid();
        if let Some(sample) = self.site.reading(reading, self.now, &self.config) {
            self.take_sample(sample);
        }
        if self.site.off_grid() != off_grid {
            self.decide_all(Trigger::Event);
        }
    }

    fn cars(&self) -> Cars {
        let moved = self.chargers.values().filter_map(|charger| charger.history.moved_at()).max();
        let reread = self.cadence.mean(REREAD).map_or(REREAD, |every| REREAD.min(every * 2));
        Cars {
            unmoved_since: moved.map_or(Tick(0), |at| at + self.meter_delay.age_at_most()),
            steady: moved.is_none_or(|at| self.now >= at + self.meter_delay.age_at_most() + reread),
            at_rest: !self.chargers.values().any(|charger| charger.on() || charger.is_drawing(self.now)),
        }
    }

    fn settle(&mut self) {
        self.site.cars(self.cars());
        self.drain.pass(self.now, self.on_sun());
        if let Some(sample) = self.site.handle_timeout(self.now, &self.config) {
            self.take_sample(sample);
        }
    }

    /// Takes a sample, exactly once. The surplus is what the cars drew *at the sample's time* less what the site drew beyond solar
    /// production, as far as the meters are believed.
    fn take_sample(&mut self, sample: Sample) {
        let then = self.cars_at(&sample);
        let cars = then.drew;
        let taken = sample.at.before(self.meter_delay.age());
        let before = self.trend.as_ref().map(Trend::surplus);
        let verdict = self.judge.sample(&Evidence::new(&sample, &then, before));
        let filled = |doubt: Option<Doubt>| matches!(doubt, Some(Doubt::BatteryFromGrid { .. }));
        if filled(verdict.doubt) && !filled(self.trust.1) {
            // The mean was built on surplus that never existed.
            self.trend = None;
        }
        self.trust = (verdict.trust, verdict.doubt);
        self.house = sample.solar.map(|solar| solar + sample.net - cars);
        if sample.alive {
            self.sampled_at = Some(sample.at);
            self.cadence.sample(sample.at);
        }
        if verdict.trust == Trust::NoData {
            self.decide_all(Trigger::Event);
            return;
        }
        let before = self.trend.as_ref().map(Trend::surplus);
        let surplus = match (verdict.trust, before) {
            (Trust::LowerOnly, Some(before)) => verdict.surplus.min(before),
            (Trust::Believed | Trust::LowerOnly | Trust::NoData, _) => verdict.surplus,
        };
        match self.trend.as_mut() {
            Some(trend) => trend.sample(surplus, sample.at),
            None => self.trend = Some(Trend::new(surplus, sample.at)),
        }
        self.count_drain(&sample, cars, taken);
        self.battery_charge_limit.sample(&sample);
        for charger in self.chargers.values_mut().filter(|charger| charger.origin == Origin::Adopted) {
            charger.origin = Origin::Decided;
        }
        self.decide_all(Trigger::Sample);
    }

    /// Estimates what all cars drew when the meters were sampled. If only bounds are known, picks the value that changes the house load
    /// least since the previous sample.
    fn cars_at(&mut self, sample: &Sample) -> CarsThen {
        let mut trail = [Watts::ZERO; AGES];
        for charger in self.chargers.values() {
            add_trail(&mut trail, &charger.history, sample.at);
        }
        let clear_since = self.chargers.values().map(|charger| charger.history.clear_since(sample.at)).max();
        let clear_since = clear_since.unwrap_or(Tick(0));
        if sample.at < clear_since {
            self.meter_delay.pause();
        } else if let Some(solar) = sample.solar {
            self.meter_delay.sample(solar + sample.net, trail);
        }
        let (low, high, likely) = self.meter_delay.drew(&trail);
        let cars = match (sample.solar, self.house) {
            (Some(solar), Some(house)) if high - low > STEADY => (solar + sample.net - house).max(low).min(high),
            (Some(_) | None, _) => likely,
        };
        let soon = self.meter_delay.age_at_most() + FOLLOWED_AFTER;
        let spread = spread(&trail, seconds(soon));
        let holds = |at| self.chargers.values().map(|charger| charger.history.holds(at)).fold(Some(true), both);
        let held = self.judge.waits_since().map_or(Some(true), holds);
        CarsThen { drew: cars, least: low, moved: Moved::by(&trail, soon), clear_since, held, spread }
    }

    /// Returns what the cars in mode `solar` draw now. Only they use the battery's budget; the other modes may take what they need from the
    /// battery.
    fn on_sun(&self) -> Watts {
        if !self.config.sources.contains_key(&Source::Battery) {
            return Watts::ZERO;
        }
        let on_sun = self.chargers.values().filter(|charger| charger.mode == Mode::Solar);
        on_sun.map(|charger| charger.draws(self.now)).sum()
    }

    /// Counts a sample towards the battery's budget. Without the battery, the cars in mode `solar` could have drawn what they drew less
    /// what it gave; power exported at the same time could have been drawn instead of battery power.
    fn count_drain(&mut self, sample: &Sample, cars: Watts, taken: Tick) {
        let others = self.chargers.values().filter(|charger| charger.mode != Mode::Solar);
        let others: Watts = others.map(|charger| charger.drew_at(taken)).sum();
        let from_battery = sample.battery_most.min(sample.net);
        self.drain.sample(self.now, cars - others - from_battery);
    }

    fn report(&mut self, report: ChargerReport) {
        let now = self.now;
        let Some(charger) = self.chargers.get_mut(&report.charger) else { return };
        let gist = |charger: &Charger| {
            let seen = charger.report.map(|report| (report.link, report.vehicle, report.fault, report.box_max));
            let seen = (seen, charger.released());
            let unread = charger.origin == Origin::Unread;
            (seen, unread, charger.phases(), charger.switch.underway(), charger.car.gist())
        };
        let before = gist(charger);
        let was_adopted = charger.origin == Origin::Adopted;
        charger.report(report, now);
        let after = gist(charger);
        if charger.origin == Origin::Adopted && !was_adopted {
            let drawn = charger.draws(now);
            self.found_running(drawn);
        }
        if after != before {
            self.decide_all(Trigger::Event);
        }
        if after.1 != before.1 {
            self.order(report.charger);
        }
    }

    /// A charge found running was running when the meters were last read, too: what it draws was taken for the house's load.
    fn found_running(&mut self, drawn: Watts) {
        if let Some(trend) = &mut self.trend {
            trend.count(drawn);
        }
        self.house = self.house.map(|house| house - drawn);
    }

    fn command(&mut self, command: Command) {
        let (only, change): (_, &dyn Fn(&mut Charger)) = match command {
            Command::Mode { charger, mode } => (charger, &move |charger: &mut Charger| charger.choose(mode)),
            Command::FixedCurrent { charger, current } => (charger, &move |charger: &mut Charger| {
                charger.fixed = current.max(charger.config.min).min(charger.config.max);
            }),
        };
        for charger in self.chargers.values_mut().filter(|charger| only.is_none_or(|only| only == charger.id)) {
            change(charger);
        }
        self.decide_all(Trigger::Event);
    }

    fn restore(&mut self, restore: Restore) {
        let now = self.now;
        let Some(charger) = self.chargers.get_mut(&restore.charger) else { return };
        charger.mode = restore.mode;
        charger.fixed = restore.fixed.max(charger.config.min).min(charger.config.max);
        charger.stopped_at = restore.stopped_ago.map(|ago| now.before(ago));
    }

    fn take_over(&mut self, carried: &CarryOver) {
        if let Some(drained) = &carried.drained {
            self.drain.carry_over(drained, self.now);
        }
        for (id, carried) in &carried.chargers {
            if let Some(charger) = self.chargers.get_mut(id) {
                charger.starts.carry_over(&carried.starts, self.now);
                charger.may_have_run = carried.may_run;
            }
        }
    }

    fn reconfigure(&mut self, config: Config) {
        self.chargers.retain(|id, _| config.chargers.contains_key(id));
        for (id, charger) in &config.chargers {
            self.chargers
                .entry(*id)
                .and_modify(|known| known.reconfigure(*charger))
                .or_insert_with(|| Charger::new(*id, *charger));
        }
        if config.battery.drain_budget != self.config.battery.drain_budget {
            self.drain.resize(config.battery.drain_budget);
        }
        if config.sources != self.config.sources || config.sampling != self.config.sampling {
            self.site = self.site.anew(&config);
            self.judge = Judge::new();
            self.cadence = Cadence::new();
            self.trust = (Trust::Believed, None);
            self.meter_delay = MeterDelay::new(config.sampling.meter_age);
        }
        self.config = config;
        self.decide_all(Trigger::Event);
    }

    /// Whether the last sample shows the cars as they are now: no setpoint changed recently, or the age of the meters' values is known to
    /// the second.
    fn settled(&self) -> bool {
        let seen = |moved: Tick| moved + self.meter_delay.age_at_most() + FOLLOWED_AFTER;
        let lately = |charger: &Charger| charger.moved_at.is_some_and(|at| self.now < seen(at));
        self.meter_delay.proven() || !self.chargers.values().any(lately)
    }

    /// Returns the doubt about the meters. An impossible value comes first, as nothing else is known of that source.
    pub fn doubt(&self) -> Option<Doubt> {
        self.site.doubt(self.now).or(self.trust.1)
    }

    /// Returns why there is no data although the meters send values: the last ones are not believed at all.
    fn refused(&self) -> Option<Doubt> {
        let (trust, doubt) = self.trust;
        let impossible = self.site.doubt(self.now).filter(|_| self.site.blind(self.now, &self.config));
        impossible.or(doubt.filter(|_| trust == Trust::NoData))
    }

    fn belief(&self) -> Belief {
        Belief {
            may_rise: self.trust.0 == Trust::Believed,
            doubt: self.doubt(),
            refused: self.refused(),
            lost: self.site.blind(self.now, &self.config),
            missing: self.site.missing(self.now, &self.config),
            stale_after: self.cadence.stale_after(&self.config.fail_safe),
            too_slow: self.cadence.too_slow(&self.config.fail_safe),
            off_grid: self.site.off_grid(),
            unchanged: self.site.unchanged_for(self.now, &self.config),
        }
    }

    /// Decides for every charger in order; each sees what the chargers before it claim of the surplus, and what the others leave of the
    /// fuse.
    fn decide_all(&mut self, trigger: Trigger) {
        let soc = self.site.soc();
        let reserve = self.battery_charge_limit.reserve(soc, &self.config, self.now);
        let closed = self.drain.closed() || self.site.battery_closed_by_floor(&self.config);
        let battery_closed = closed || self.site.off_grid();
        let has_battery = self.config.sources.contains_key(&Source::Battery);
        let belief = self.belief();
        for id in self.chargers.keys().copied().collect::<alloc::vec::Vec<_>>() {
            let situation = Situation {
                now: self.now,
                trigger,
                config: &self.config,
                began: self.began,
                trend: self.trend.as_ref(),
                sampled_at: self.sampled_at,
                settled: self.settled(),
                belief,
                soc,
                soc_live: self.site.soc_age(self.now, &self.config).is_some(),
                battery_closed: has_battery && battery_closed,
                battery_spent: has_battery && self.drain.spent(),
                reserve,
                claimed: claimed_by_others(&self.chargers, id, self.now),
                site_left: site_left(&self.chargers, id, self.config.site_limit, self.now.since(self.began)),
            };
            let Some(charger) = self.chargers.get(&id) else { continue };
            let (setpoint, reason) = decide(charger, &situation);
            let changed = setpoint != charger.setpoint;
            if let Some(charger) = self.chargers.get_mut(&id) {
                charger.set(setpoint, reason, self.now);
            }
            if changed {
                self.order(id);
            }
        }
    }

    fn order(&mut self, id: ChargerId) {
        let Some(charger) = self.chargers.get(&id) else { return };
        let setpoint = (charger.origin != Origin::Unread).then_some(charger.setpoint);
        assert!(self.actions.len() < ACTIONS_MAX, "actions must be drained after each call");
        let order =
            Order { charger: id, setpoint, phases: charger.phases_to_order(), valid_until: self.now + ORDER_VALID };
        self.actions.push_back(Action::Order(order));
    }

    fn wake_cars(&mut self) {
        let now = self.now;
        for charger in self.chargers.values_mut() {
            if charger.wake_due(now) {
                self.actions.push_back(Action::Wake(charger.id));
            }
        }
    }

    /// Requests fresh samples. They matter while a car follows the surplus, and near its start threshold.
    fn ask_for_samples(&mut self) {
        let Some(every) = self.config.sampling.refresh_every else { return };
        let recent = |at: Option<Tick>| at.is_some_and(|at| self.now.since(at) < every);
        if recent(self.refreshed_at) || recent(self.trend.as_ref().map(Trend::at)) {
            return;
        }
        if self.chargers.values().any(|charger| wants_fresh_samples(charger, self.trust.0 == Trust::LowerOnly)) {
            self.refreshed_at = Some(self.now);
            self.actions.push_back(Action::Refresh);
        }
    }

    fn site_view(&self) -> SiteView {
        let power = |source| self.site.power(source);
        let surplus = self.trend.as_ref().map(Trend::surplus);
        SiteView {
            grid: power(Source::Grid),
            solar: power(Source::Solar),
            battery: power(Source::Battery),
            load: power(Source::Load),
            soc: self.site.soc(),
            house: self.house,
            surplus,
            age: self.sampled_at.map(|at| self.now.since(at)),
            imbalance: self.judge.imbalance(),
            soc_age: self.site.soc_age(self.now, &self.config),
            missing: self.site.missing(self.now, &self.config),
            doubt: self.doubt(),
            cadence: self.cadence.rhythm(),
            off_grid: self.site.off_grid(),
        }
    }

    #[cfg(test)]
    pub(crate) fn trend_memory(&self) -> Option<(i64, i64)> {
        self.trend.as_ref().map(Trend::memory)
    }
}

#[cfg(test)]
mod tests;
