//! A day of sun on a 10 kWp roof, one value per second, from a seed. Pure; the same seed gives the same day.
//!
//! The clear sky follows the curve of Haurwitz (1945) on a roof facing south with 30° of tilt at 48° north; clouds are a shade that moves
//! with the ramp rates seen on roofs of this size (1 … 7 kW per minute). Left out: temperature, snow, and weather that changes its kind
//! within the day.

use std::f64::consts::PI;

use super::house::House;

/// Seconds in a day.
pub const DAY_S: u32 = 86_400;

/// The kind of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Blue sky.
    Clear,
    /// Veiled: three quarters of the sun, changing slowly.
    Hazy,
    /// Alternating sun and clouds, with steep ramps.
    Broken,
    /// Overcast sky.
    Overcast,
}

impl Weather {
    /// All kinds, brightest first.
    pub const ALL: [Self; 4] = [Self::Clear, Self::Hazy, Self::Broken, Self::Overcast];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Hazy => "hazy",
            Self::Broken => "broken",
            Self::Overcast => "overcast",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Sun and house load of one day. After the last second it starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    pv_w: Vec<i32>,
    house_w: Vec<i32>,
}

/// The middle of May, when solar charging is worthwhile.
const DAY_OF_YEAR: u16 = 135;

impl Day {
    /// Generates a day in the middle of May.
    pub fn generate(seed: u64, kind: Weather) -> Self {
        Self::generate_on(seed, kind, DAY_OF_YEAR)
    }

    /// Generates a day of the year (1 … 366) at 48° north. The sun is highest at 13:00 in this program's time.
    pub fn generate_on(seed: u64, kind: Weather, day_of_year: u16) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut sky = Sky::new(kind, random.fork());
        let mut house = House::new(random.fork());
        let pv_w = (0..DAY_S).map(|t_s| sky.shade(clear_sky_w(t_s, day_of_year))).collect();
        let house_w = (0..DAY_S).map(|t_s| house.load_w(t_s)).collect();
        Self { pv_w, house_w }
    }

    /// Power of the roof at second `t_s` of the day, in watts, ≥ 0.
    pub fn pv_w(&self, t_s: u32) -> i32 {
        at(&self.pv_w, t_s)
    }

    /// House load without the car at second `t_s` of the day, in watts, ≥ 0.
    pub fn house_w(&self, t_s: u32) -> i32 {
        at(&self.house_w, t_s)
    }
}

fn at(values: &[i32], t_s: u32) -> i32 {
    values.get((t_s % DAY_S) as usize).copied().unwrap_or(0)
}

/// Power of the roof under a clear sky, in watts.
fn clear_sky_w(t_s: u32, day_of_year: u16) -> f64 {
    const LATITUDE: f64 = 48.0 * PI / 180.0;
    const TILT: f64 = 30.0 * PI / 180.0;
    const NOON_S: f64 = 13.0 * 3_600.0;
    const PEAK_W: f64 = 10_000.0;
    /// Losses of inverter, wiring, heat and dirt.
    const YIELD: f64 = 0.85;
    let declination = 0.409 * (2.0 * PI * (f64::from(day_of_year) - 81.0) / 365.0).sin();
    let hour_angle = 2.0 * PI * (f64::from(t_s) - NOON_S) / f64::from(DAY_S);
    // Height of the sun, and its angle to a roof facing south: that equals the sun's height at a latitude smaller by the tilt.
    let height =
        |latitude: f64| latitude.sin() * declination.sin() + latitude.cos() * declination.cos() * hour_angle.cos();
    let up = height(LATITUDE);
    if up <= 0.0 {
        return 0.0;
    }
    let global = 1_098.0 * up * (-0.057 / up).exp();
    let diffuse = global * 0.15;
    let direct = (global - diffuse) / up * height(LATITUDE - TILT).max(0.0);
    // Close to the horizon, dividing by a small height must not give more than full sunshine.
    PEAK_W * YIELD * (diffuse + direct.min(1_000.0)) / 1_000.0
}

/// The clouds.
struct Sky {
    kind: Weather,
    random: fastrand::Rng,
    /// Share of the clear-sky power that gets through now, and the share it moves to.
    share: f64,
    target: f64,
    /// Change of the share per second.
    slope: f64,
    left_s: u32,
}

impl Sky {
    const fn new(kind: Weather, random: fastrand::Rng) -> Self {
        Self { kind, random, share: 1.0, target: 1.0, slope: 1.0, left_s: 0 }
    }

    fn shade(&mut self, clear_w: f64) -> i32 {
        if self.left_s == 0 {
            self.turn();
        }
        self.left_s -= 1;
        self.share += (self.target - self.share).clamp(-self.slope, self.slope);
        #[expect(clippy::cast_possible_truncation, reason = "at most some ten thousand watts")]
        let watts = (clear_w * self.share).round() as i32;
        watts.max(0)
    }

    /// Chooses the next cloud, gap or drift.
    fn turn(&mut self) {
        let random = &mut self.random;
        let mut between = |low: f64, high: f64| low + (high - low) * random.f64();
        // A ramp of 1 … 7 kW per minute on 10 kW, as a share per second.
        let steep = 0.1 / 60.0;
        (self.target, self.slope) = match self.kind {
            Weather::Clear => (between(0.99, 1.0), 0.000_1),
            Weather::Hazy => (between(0.66, 0.84), 0.000_2),
            Weather::Overcast => (between(0.10, 0.28), 0.000_2),
            // The edge of a cloud adds a little to the clear-sky power.
            Weather::Broken if self.target < 0.7 => (between(0.93, 1.06), steep * between(1.0, 7.0)),
            Weather::Broken => (between(0.18, 0.62), steep * between(1.0, 7.0)),
        };
        self.left_s = match self.kind {
            Weather::Clear | Weather::Hazy | Weather::Overcast => self.random.u32(300..1_500),
            Weather::Broken if self.target < 0.7 => self.random.u32(60..600),
            Weather::Broken => self.random.u32(90..1_100),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kwh(day: &Day) -> f64 {
        (0..DAY_S).map(|t| f64::from(day.pv_w(t))).sum::<f64>() / 3.6e6
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        for kind in Weather::ALL {
            assert_eq!(Day::generate(3, kind), Day::generate(3, kind));
            assert_ne!(Day::generate(3, kind), Day::generate(4, kind));
        }
    }

    #[test]
    fn kinds_differ_as_they_should() {
        let energies: Vec<f64> = Weather::ALL.iter().map(|kind| kwh(&Day::generate(1, *kind))).collect();
        let [clear, hazy, broken, overcast] = energies[..] else { panic!() };
        assert!((50.0..75.0).contains(&clear), "{clear}");
        assert!(hazy < clear * 0.85 && hazy > clear * 0.65, "{hazy}");
        assert!(broken < clear * 0.9 && broken > clear * 0.5, "{broken}");
        assert!(overcast < clear * 0.28, "{overcast}");
    }

    #[test]
    fn nights_are_dark_and_seasons_differ() {
        let summer = Day::generate_on(1, Weather::Clear, 172);
        let winter = Day::generate_on(1, Weather::Clear, 355);
        assert_eq!((summer.pv_w(0), summer.pv_w(DAY_S)), (0, 0));
        assert!(summer.pv_w(6 * 3_600) > 0 && winter.pv_w(6 * 3_600) == 0);
        assert!(kwh(&summer) > 2.0 * kwh(&winter));
        assert!((0..DAY_S).all(|t| (0..10_500).contains(&summer.pv_w(t))));
    }

    #[test]
    fn broken_clouds_ramp_no_faster_than_roofs_do() {
        let day = Day::generate(5, Weather::Broken);
        let steepest = (1..DAY_S).map(|t| (day.pv_w(t) - day.pv_w(t - 1)).abs()).max().unwrap();
        assert!((20..=122).contains(&steepest), "{steepest} W/s");
        let crossings = (1..DAY_S).filter(|t| (day.pv_w(*t) > 4_500) != (day.pv_w(t - 1) > 4_500)).count();
        assert!(crossings > 10, "{crossings}");
    }

    #[test]
    fn a_house_uses_what_a_house_uses() {
        for seed in 0..5 {
            let day = Day::generate(seed, Weather::Clear);
            let used = (0..DAY_S).map(|t| f64::from(day.house_w(t))).sum::<f64>() / 3.6e6;
            assert!((8.0..30.0).contains(&used), "{used}");
            assert!((0..DAY_S).all(|t| (100..12_000).contains(&day.house_w(t))));
        }
    }
}
