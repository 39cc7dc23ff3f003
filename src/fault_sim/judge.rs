//! The rules that hold after every step, whatever happens. All of them are checked on what the world shows (wallbox, plant, wire) and on
//! what the gateway decides, never on what it believes; only the mode before the first request is its own word.

use std::fmt;

use control::{Milliamps, Mode, WattHours};

use super::gateway::Seen;
use super::scenario::{Fault, Scenario, What};
use super::world::World;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) rule: &'static str,
    pub(super) at_ms: u64,
    pub(super) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at second {}.{:03}: {}", self.rule, self.at_ms / 1_000, self.at_ms % 1_000, self.what)
    }
}

/// Figures that the rules bound, for the report.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) starts: u32,
    pub(super) grid_wh: f64,
    pub(super) battery_wh: f64,
    pub(super) solar_wh: f64,
    pub(super) lines: u64,
    /// The longest time in seconds that good conditions lasted without a charge.
    pub(super) idle_s: u64,
    /// How much of what is allowed was used, 0 … 1: lines of the log, closings of the contactor, energy from grid and battery.
    pub(super) used: [f64; 3],
}

impl Figures {
    /// Keeps the worse of both.
    pub(super) fn join(&mut self, other: &Self) {
        self.idle_s = self.idle_s.max(other.idle_s);
        for (worst, used) in self.used.iter_mut().zip(other.used) {
            *worst = worst.max(used);
        }
    }
}

/// What the program is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running {
    /// `None` while it is dead; when it was started.
    pub(super) since_ms: Option<u64>,
    pub(super) loop_runs: bool,
    pub(super) line_runs: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Judge {
    watchdog_ms: u64,
    max_deciamps: u16,
    solar_only: bool,
    /// The car must be woken, and is never full.
    sleeps: bool,
    /// When cable, wallbox, line or program were last in trouble: then proving a current takes longer.
    trouble_ms: Option<u64>,
    /// When anything was last wrong.
    wrong_ms: Option<u64>,
    /// When something acted last that makes meters or battery not to be believed for a while.
    doubt_ms: Option<u64>,
    dead_ms: Option<u64>,
    mode: Option<(Mode, u64)>,
    order: Milliamps,
    started_ms: Option<u64>,
    stopped_ms: Option<u64>,
    locked_ms: Option<u64>,
    /// The counter when it was first seen, with the energy that had flowed, and when it was last seen.
    energy_first: Option<(WattHours, f64)>,
    energy: Option<WattHours>,
    /// The stored state was damaged: the counter has begun anew.
    torn: bool,
    good_ms: Option<u64>,
    pub(super) figures: Figures,
}

/// What a request and its answer, a decision and the wallbox take when all is well.
const SWIFT_MS: u64 = 8_000;
/// How long `solar` may go on without a message of the meters (fail-safe.stop-after-s).
const STOP_AFTER_MS: u64 = 300_000;
/// solar.min-off-s and solar.min-on-s.
const MIN_OFF_MS: u64 = 60_000;
const MIN_ON_MS: u64 = 60_000;
/// After this long without any fault there is no reason of safety to end a charge early.
const SOUND_MS: u64 = 600_000;
/// How long a wake-up, its unlock and the attempts at it may take.
const LOCKED_MS: u64 = 300_000;
/// How long all must have been well, with this much sun to spare, before a charge must run; in milliseconds and watts.
const GOOD_MS: u64 = 900_000;
const GOOD_W: f64 = 5_800.0;
/// How long meters that were seen to be wrong, or a battery that was seen to be filled from the grid, are not believed afterwards.
const DOUBTED_MS: u64 = 3_600_000;
/// What can flow between a reading of the wallbox's counter and the time it is shown, in watt-hours.
const SEEN_LATE_WH: f64 = 130.0;
/// Lines of the log in a scenario, and for each hour of it and each of its faults.
const LINES: (u64, u64, u64) = (20, 15, 20);

impl Judge {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let modes = scenario.faults.iter().any(|fault| matches!(fault.what, What::Mode(_)));
        Self {
            watchdog_ms: u64::from(scenario.house.watchdog_s.max(15)) * 1_000,
            max_deciamps: scenario.house.max_a * 10,
            sleeps: scenario.house.car_sleeps && scenario.house.car_wants_wh.is_none(),
            solar_only: scenario.house.mode == "solar" && !modes,
            trouble_ms: None,
            wrong_ms: None,
            doubt_ms: None,
            dead_ms: None,
            mode: None,
            order: Milliamps::ZERO,
            started_ms: None,
            stopped_ms: None,
            locked_ms: None,
            energy_first: None,
            energy: None,
            torn: false,
            good_ms: None,
            figures: Figures::default(),
        }
    }

    /// Notes which faults act now.
    pub(super) fn faults<'a>(&mut self, active: impl Iterator<Item = &'a Fault>, now_ms: u64) {
        for fault in active {
            self.wrong_ms = Some(now_ms);
            if fault.what.is_of_the_line() {
                self.trouble_ms = Some(now_ms);
            }
            if fault.what.leaves_doubt() {
                self.doubt_ms = Some(now_ms);
            }
            self.torn |= matches!(fault.what, What::Killed { torn: true, .. });
        }
    }

    /// How long it may take until the wallbox has a lower current, counted from the decision.
    fn proof_ms(&self, now_ms: u64, span_ms: u64) -> u64 {
        let lately = now_ms.saturating_sub(span_ms + 2 * self.watchdog_ms + 60_000);
        if self.trouble_ms.is_some_and(|at_ms| at_ms >= lately) { 2 * self.watchdog_ms + 30_000 } else { SWIFT_MS }
    }

    /// Checks what can change with every step.
    pub(super) fn step(
        &mut self,
        world: &World,
        seen: Option<&mut Seen>,
        running: Running,
        now_ms: u64,
    ) -> Result<(), Violation> {
        let broken = |rule, what: String| Err(Violation { rule, at_ms: now_ms, what });
        if let Some(forbidden) = world.wallbox().last_forbidden() {
            return broken("forbidden write", format!("{forbidden:?}"));
        }
        match (running.since_ms, self.dead_ms) {
            (None, None) => self.dead_ms = Some(now_ms),
            (Some(_), Some(_)) => {
                self.dead_ms = None;
                self.order = Milliamps::ZERO;
                self.mode = None;
                self.energy = None;
                // A charge that is found is adopted; one that has ended meanwhile has stopped at an unknown moment.
                (self.started_ms, self.stopped_ms) = (None, None);
            }
            _ => {}
        }
        let allowed = world.wallbox().allowed_deciamps();
        if allowed > self.max_deciamps {
            let waking = now_ms.saturating_sub(world.box_up_ms);
            if waking > self.watchdog_ms + self.proof_ms(now_ms, waking) {
                return broken("limit", format!("{allowed} dA offered, {} allowed", self.max_deciamps));
            }
        }
        let Some(seen) = seen else { return Ok(()) };
        for (at_ms, setpoint) in seen.orders.drain(..) {
            self.order(setpoint, at_ms)?;
        }
        Ok(())
    }

    fn order(&mut self, setpoint: Milliamps, at_ms: u64) -> Result<(), Violation> {
        let broken = |rule, what: String| Err(Violation { rule, at_ms, what });
        if setpoint > Milliamps::ZERO && setpoint < Milliamps(6_000)
            || setpoint > Milliamps(u32::from(self.max_deciamps) * 100)
        {
            return broken("forbidden order", setpoint.to_string());
        }
        if self.order > Milliamps::ZERO && setpoint == Milliamps::ZERO {
            self.stopped_ms = Some(at_ms);
            let on_ms = self.started_ms.take().map_or(MIN_ON_MS, |started_ms| at_ms - started_ms);
            let sound = self.wrong_ms.is_none_or(|wrong_ms| at_ms - wrong_ms > SOUND_MS);
            if on_ms < MIN_ON_MS && sound && self.solar_only {
                return broken("minimum on", format!("{on_ms} ms, and nothing was wrong"));
            }
        }
        if self.order == Milliamps::ZERO && setpoint > Milliamps::ZERO {
            self.started_ms = Some(at_ms);
        }
        if self.order == Milliamps::ZERO && setpoint > Milliamps::ZERO && self.solar_only {
            let off_ms = self.stopped_ms.map_or(MIN_OFF_MS, |stopped_ms| at_ms - stopped_ms);
            if off_ms < MIN_OFF_MS {
                return broken("minimum off", format!("{off_ms} ms"));
            }
        }
        self.order = setpoint;
        Ok(())
    }

    /// Checks what needs to be looked at once a second.
    pub(super) fn second(
        &mut self,
        world: &World,
        seen: Option<&Seen>,
        running: Running,
        now_ms: u64,
    ) -> Result<(), Violation> {
        let broken = |rule, what: String| Err(Violation { rule, at_ms: now_ms, what });
        let allowed = world.wallbox().allowed_deciamps();
        let up_ms = now_ms.saturating_sub(world.box_up_ms);
        let waking = up_ms <= self.watchdog_ms + SWIFT_MS;
        if let Some(dead_ms) = self.dead_ms {
            self.good_ms = None;
            let alone_ms = now_ms.saturating_sub(dead_ms).min(up_ms);
            if alone_ms > self.watchdog_ms + 2_000 && allowed > 0 {
                return broken("fail-safe", format!("{allowed} dA, {alone_ms} ms after the program's death"));
            }
            return Ok(());
        }
        let (Some(seen), Some(since_ms)) = (seen, running.since_ms) else { return Ok(()) };
        let undecided_ms = now_ms.saturating_sub(seen.decided_ms);
        if allowed > 0 && !waking && undecided_ms > 10_000 + self.proof_ms(now_ms, undecided_ms) {
            return broken("validity", format!("{allowed} dA, {undecided_ms} ms after the last decision"));
        }
        self.mode(seen.mode, now_ms);
        let in_mode_ms = |mode| self.mode.filter(|(now, _)| *now == mode).map(|(_, at_ms)| now_ms - at_ms);
        let blind_ms = now_ms.saturating_sub(seen.live_ms.unwrap_or(0).max(since_ms));
        if let Some(solar_ms) = in_mode_ms(Mode::Solar) {
            let bound = STOP_AFTER_MS + self.proof_ms(now_ms, STOP_AFTER_MS) + 10_000;
            if allowed > 0 && !waking && blind_ms.min(solar_ms) > bound {
                return broken("stale data", format!("{allowed} dA, {blind_ms} ms without a message"));
            }
        }
        // What was asked for counts, whatever the gateway makes of it; before that, the configured mode or the stored one.
        let off_ms = match seen.asked {
            Some((mode, at_ms)) => (mode == Mode::Off).then(|| now_ms - at_ms),
            None => in_mode_ms(Mode::Off),
        };
        if let Some(off_ms) = off_ms
            && allowed > 0
            && !waking
            && off_ms > self.proof_ms(now_ms, off_ms) + 10_000
        {
            return broken("off", format!("{allowed} dA, {off_ms} ms after it was switched off"));
        }
        self.lock(world, now_ms)?;
        self.energy(seen, world, now_ms)?;
        self.liveness(world, running, now_ms)
    }

    fn mode(&mut self, mode: Option<Mode>, now_ms: u64) {
        if self.mode.map(|(mode, _)| mode) != mode {
            self.mode = mode.map(|mode| (mode, now_ms));
        }
    }

    fn lock(&mut self, world: &World, now_ms: u64) -> Result<(), Violation> {
        let locked = world.wallbox().registers().remote_lock == 0;
        let troubled = self.trouble_ms.is_some_and(|at_ms| now_ms - at_ms < 120_000);
        self.locked_ms = if locked && !troubled { self.locked_ms.or(Some(now_ms)) } else { None };
        if let Some(since_ms) = self.locked_ms.filter(|since_ms| now_ms - since_ms > LOCKED_MS) {
            let what = format!("locked for {} ms", now_ms - since_ms);
            return Err(Violation { rule: "lock", at_ms: now_ms, what });
        }
        Ok(())
    }

    /// The published counter never falls, and never grows by more than can have flowed.
    fn energy(&mut self, seen: &Seen, world: &World, now_ms: u64) -> Result<(), Violation> {
        let Some(total) = seen.energy else { return Ok(()) };
        let flowed_wh = world.plant.ledger().car_wh;
        let (first, flowed_before_wh) = *self.energy_first.get_or_insert((total, flowed_wh));
        #[expect(clippy::cast_precision_loss, reason = "some kilowatt-hours")]
        let grown = (total.0 - first.0) as f64;
        let most = (flowed_wh - flowed_before_wh) * 1.02 + SEEN_LATE_WH;
        let falls = self.energy.replace(total).is_some_and(|before| total < before);
        if falls || grown > most && !self.torn {
            let what =
                format!("the counter went from {first} to {total}, {most:.1} Wh at most have flowed, falls: {falls}");
            return Err(Violation { rule: "energy", at_ms: now_ms, what });
        }
        Ok(())
    }

    /// With good data and enough sun it charges.
    fn liveness(&mut self, world: &World, running: Running, now_ms: u64) -> Result<(), Violation> {
        let doubted = self.doubt_ms.is_some_and(|at_ms| now_ms - at_ms < DOUBTED_MS);
        let sound = self.wrong_ms.is_none_or(|at_ms| at_ms < now_ms) && !doubted;
        let good = sound && self.solar_only && running.since_ms.is_some() && world.surplus_w() >= GOOD_W;
        let pilot = world.wallbox().pilot();
        let good = good && (self.sleeps || world.plant.signal(pilot).asks);
        let charges = world.plant.flows().car_w > 0.0;
        self.good_ms = if good && !charges { self.good_ms.or(Some(now_ms)) } else { None };
        let Some(since_ms) = self.good_ms else { return Ok(()) };
        self.figures.idle_s = self.figures.idle_s.max((now_ms - since_ms) / 1_000);
        if now_ms - since_ms > GOOD_MS {
            let what =
                format!("no charge for {} s with {:.0} W to spare", (now_ms - since_ms) / 1_000, world.surplus_w());
            return Err(Violation { rule: "liveness", at_ms: now_ms, what });
        }
        Ok(())
    }

    /// Checks the sums at the end.
    pub(super) fn end(&mut self, scenario: &Scenario, world: &World, lines: u64, now_ms: u64) -> Result<(), Violation> {
        let broken = |rule, what: String| Err(Violation { rule, at_ms: now_ms, what });
        let ledger = world.plant.ledger();
        self.figures = Figures {
            starts: ledger.starts,
            grid_wh: ledger.grid_to_car_wh,
            battery_wh: ledger.battery_to_car_wh,
            solar_wh: ledger.solar_to_car_wh,
            lines,
            ..self.figures
        };
        let hours = f64::from(scenario.lasts_s) / 3_600.0;
        let budget = Budget::of(scenario, hours);
        let given_wh = if self.solar_only { ledger.grid_to_car_wh + ledger.battery_to_car_wh } else { 0.0 };
        let count = |lines: u64| f64::from(u32::try_from(lines).unwrap_or(u32::MAX));
        self.figures.used = [
            share(count(lines), count(budget.lines)),
            share(f64::from(ledger.starts), f64::from(budget.starts)),
            share(given_wh, budget.given_wh),
        ];
        if lines > budget.lines {
            return broken("log", format!("{lines} lines, {} allowed", budget.lines));
        }
        if ledger.starts > budget.starts {
            return broken("closures", format!("{} closures, {} allowed", ledger.starts, budget.starts));
        }
        if given_wh > budget.given_wh {
            let what = format!("{given_wh:.0} Wh from grid and battery, {:.0} allowed", budget.given_wh);
            return broken("energy budget", what);
        }
        Ok(())
    }
}

fn share(used: f64, allowed: f64) -> f64 {
    used / allowed.max(1.0)
}

/// What a scenario may cost.
struct Budget {
    lines: u64,
    starts: u32,
    given_wh: f64,
}

impl Budget {
    fn of(scenario: &Scenario, hours: f64) -> Self {
        let count = scenario.faults.len();
        let faults: f64 = scenario.faults.iter().map(|fault| fault.what.costs_wh(fault.until_s - fault.from_s)).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hours")]
        let whole = hours.ceil() as u64;
        let starts: u32 =
            scenario.faults.iter().map(|fault| fault.what.costs_starts(fault.until_s - fault.from_s)).sum();
        Self {
            lines: LINES.0 + LINES.1 * whole + LINES.2 * u64::try_from(count).unwrap_or(u64::MAX),
            starts: 4 + 3 * u32::try_from(whole).unwrap_or(u32::MAX) + starts,
            given_wh: 200.0 + 500.0 * hours + 0.6 * faults,
        }
    }
}
