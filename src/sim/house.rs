//! The load of a household through the day without its car: base load, fridge, kettle, oven and heat pump, from a seed.
//!
//! Left out: seasonal lighting, and absence.

/// A household on one day, queried second by second in ascending order.
#[derive(Debug)]
pub struct House {
    random: fastrand::Rng,
    fridge: Cycle,
    heat_pump: Cycle,
    /// Appliances that run at set times.
    meals: Vec<Meal>,
    noise_w: i32,
}

/// A device that switches itself on and off.
#[derive(Debug)]
struct Cycle {
    watts: i32,
    on: bool,
    left_s: u32,
    on_s: std::ops::Range<u32>,
    off_s: std::ops::Range<u32>,
}

/// An appliance used at a certain time of day.
#[derive(Debug, Clone, Copy)]
struct Meal {
    from_s: u32,
    for_s: u32,
    watts: i32,
    /// The thermostat is on for the first part of each period: (period, on), in seconds.
    thermostat: (u32, u32),
}

impl House {
    /// A household that depends on `random` alone.
    pub fn new(mut random: fastrand::Rng) -> Self {
        let mut meals = Vec::new();
        // The kettle: for breakfast, in the morning, for tea.
        for around_s in [6 * 3_600 + 1_800, 9 * 3_600 + 1_800, 10 * 3_600 + 2_400, 15 * 3_600 + 1_800] {
            let from_s = around_s + random.u32(0..1_500);
            meals.push(Meal { from_s, for_s: random.u32(120..220), watts: 2_100, thermostat: (1, 1) });
        }
        // The oven heats up, then holds its temperature: for lunch and for supper.
        for around_s in [11 * 3_600 + 1_800, 18 * 3_600] {
            let from_s = around_s + random.u32(0..2_400);
            let for_s = random.u32(1_800..3_300);
            meals.push(Meal { from_s, for_s: 480, watts: 2_600, thermostat: (1, 1) });
            meals.push(Meal { from_s: from_s + 480, for_s, watts: 2_400, thermostat: (90, 30) });
        }
        let heat_pump_w = random.i32(1_100..1_900);
        Self {
            fridge: Cycle { watts: 95, on: false, left_s: random.u32(1..1_500), on_s: 600..900, off_s: 1_300..1_900 },
            heat_pump: Cycle {
                watts: heat_pump_w,
                on: false,
                left_s: random.u32(600..4_000),
                on_s: 900..1_800,
                off_s: 5_000..9_000,
            },
            meals,
            noise_w: 0,
            random,
        }
    }

    /// The load at second `t_s` of the day, in watts, ≥ 100.
    pub fn load_w(&mut self, t_s: u32) -> i32 {
        let awake = (6 * 3_600..23 * 3_600).contains(&t_s);
        let base = if awake { 320 } else { 190 };
        self.noise_w = (self.noise_w + self.random.i32(-6..=6)).clamp(-60, 60);
        let fridge = self.fridge.step(&mut self.random);
        let heat_pump = self.heat_pump.step(&mut self.random);
        let meals: i32 = self.meals.iter().map(|meal| meal.load_w(t_s)).sum();
        base + self.noise_w + fridge + heat_pump + meals
    }
}

impl Cycle {
    fn step(&mut self, random: &mut fastrand::Rng) -> i32 {
        if self.left_s == 0 {
            self.on = !self.on;
            self.left_s = random.u32(if self.on { self.on_s.clone() } else { self.off_s.clone() });
        }
        self.left_s = self.left_s.saturating_sub(1);
        if self.on { self.watts } else { 0 }
    }
}

impl Meal {
    fn load_w(&self, t_s: u32) -> i32 {
        let Some(since) = t_s.checked_sub(self.from_s).filter(|since| *since < self.for_s) else { return 0 };
        let (period, on) = self.thermostat;
        if since % period < on { self.watts } else { 0 }
    }
}
