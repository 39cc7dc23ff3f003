//! What the controller sees of the plant: late, coarse, held between samples, and not all from the same moment.
//!
//! Ideal meters are sampled together and publish at once in whole watts. `realistic` ones are 1 … 5 s late, up to 0.5 % off, noisy, and
//! silent if the value did not change, as statestream is.

use std::collections::VecDeque;

use control::Source;

use crate::sim::plant::Flows;

/// The sources of the simulated site, in the order of a [`Burst`].
pub(super) const METERED: [Source; 5] =
    [Source::Grid, Source::Solar, Source::Battery, Source::Load, Source::BatterySoc];
const SOURCES: usize = METERED.len();
/// Samples are taken this many seconds before a multiple of the period, so that not everything happens at full minutes.
const PHASE_S: u32 = 7;
/// How many seconds of the past skewed meters can show.
const MEMORY: usize = 64;
/// Largest gain error of a realistic meter.
const GAIN: f64 = 0.005;
/// Noise of a realistic meter, in watts (one standard deviation).
const NOISE_W: f64 = 20.0;
/// Longest delay or skew, in seconds.
pub(super) const LATE_MAX_S: u32 = 60;

/// One value of each source, in the order of `METERED`; `None` is not published.
pub type Burst = [Option<i32>; SOURCES];

/// Properties of the meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetersOptions {
    /// Seconds between samples; 0: every second.
    pub period_s: u32,
    /// Late, inaccurate, noisy, and silent without a new value.
    pub realistic: bool,
    /// Every sample arrives this many seconds late, in addition to what `realistic` adds; at most 60.
    pub delay_s: u32,
    /// Each meter may lag the others by up to this many seconds (fixed for the run by the seed); at most 60.
    pub skew_s: u32,
    /// A request for fresh samples is answered with one taken this many seconds later; `None`: not answered.
    pub refresh_delay_s: Option<u32>,
}

/// The site's meters.
#[derive(Debug, Clone)]
pub struct Meters {
    options: MetersOptions,
    random: fastrand::Rng,
    gains: [f64; SOURCES],
    skews_s: [u32; SOURCES],
    /// Past values, by second modulo [`MEMORY`].
    past: [[f64; SOURCES]; MEMORY],
    began_s: u32,
    has_battery: bool,
    refresh_at_s: Option<u32>,
    /// Samples on their way, with the second of arrival.
    under_way: VecDeque<(u32, Burst)>,
    published: Burst,
}

impl Meters {
    /// Meters that start at second `began_s`.
    pub fn new(options: MetersOptions, has_battery: bool, seed: u64, began_s: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let gains =
            [(); SOURCES].map(|()| if options.realistic { 1.0 + GAIN * (2.0 * random.f64() - 1.0) } else { 1.0 });
        let skews_s = [(); SOURCES].map(|()| random.u32(0..=options.skew_s.min(LATE_MAX_S)));
        Self {
            options,
            random,
            gains,
            skews_s,
            past: [[0.0; SOURCES]; MEMORY],
            began_s,
            has_battery,
            refresh_at_s: None,
            under_way: VecDeque::with_capacity(MEMORY),
            published: [None; SOURCES],
        }
    }

    /// Records the flows of a second that has passed; a sample may be taken.
    pub fn pass(&mut self, t_s: u32, flows: &Flows) {
        let load_w = flows.house_w + flows.car_w;
        // In the order of `METERED`.
        let now = [flows.grid_w, flows.solar_w, flows.battery_w, load_w, flows.soc_pct.unwrap_or(0.0)];
        if let Some(place) = self.past.get_mut(t_s as usize % MEMORY) {
            *place = now;
        }
        let due = self.options.period_s == 0 || t_s.saturating_add(PHASE_S).is_multiple_of(self.options.period_s);
        let asked = self.refresh_at_s == Some(t_s);
        if asked {
            self.refresh_at_s = None;
        }
        if due || asked {
            self.sample(t_s);
        }
    }

    /// Requests fresh samples. Further requests are ignored while one is being answered.
    pub const fn refresh(&mut self, t_s: u32) {
        if let (None, Some(delay_s)) = (self.refresh_at_s, self.options.refresh_delay_s) {
            // Requested after this second's sample, so the earliest is due in the next second.
            self.refresh_at_s = Some(t_s.saturating_add(if delay_s == 0 { 1 } else { delay_s }));
        }
    }

    /// The next sample that has arrived by second `t_s`, if any.
    pub fn arrived(&mut self, t_s: u32) -> Option<Burst> {
        if self.under_way.front().is_none_or(|(at_s, _)| *at_s > t_s) {
            return None;
        }
        let (_, burst) = self.under_way.pop_front()?;
        Some(if self.options.realistic { self.news(burst) } else { burst })
    }

    /// The age of the charger's own meter reading at this poll, in seconds.
    pub fn charger_age_s(&mut self) -> usize {
        if self.options.realistic { self.random.usize(1..=2) } else { 0 }
    }

    fn sample(&mut self, t_s: u32) {
        let mut burst: Burst = [None; SOURCES];
        for (at, source) in METERED.into_iter().enumerate() {
            if !self.has_battery && matches!(source, Source::Battery | Source::BatterySoc) {
                continue;
            }
            let value = self.value(at, source, t_s);
            #[expect(clippy::cast_possible_truncation, reason = "traces are limited to a megawatt")]
            if let Some(place) = burst.get_mut(at) {
                *place = Some(value.round() as i32);
            }
        }
        let late_s = self.options.delay_s + if self.options.realistic { self.random.u32(1..=5) } else { 0 };
        // All samples use one connection: none overtakes another.
        let arrives_s = t_s.saturating_add(late_s).max(self.under_way.back().map_or(0, |(at_s, _)| *at_s));
        self.under_way.push_back((arrives_s, burst));
    }

    fn value(&mut self, at: usize, source: Source, t_s: u32) -> f64 {
        let skew_s = self.skews_s.get(at).copied().unwrap_or(0);
        let taken_s = t_s.saturating_sub(skew_s).max(self.began_s);
        let was = self.past.get(taken_s as usize % MEMORY).and_then(|past| past.get(at)).copied().unwrap_or(0.0);
        if !self.options.realistic || source == Source::BatterySoc {
            return was;
        }
        let noise_w = NOISE_W * gaussian(&mut self.random);
        was * self.gains.get(at).copied().unwrap_or(1.0) + noise_w
    }

    /// Keeps only the values that differ from those published before.
    fn news(&mut self, burst: Burst) -> Burst {
        let mut news = burst;
        for (value, published) in news.iter_mut().zip(&mut self.published) {
            if value == published {
                *value = None;
            } else {
                *published = *value;
            }
        }
        news
    }
}

/// A standard normal random number (Box and Muller, 1958).
fn gaussian(random: &mut fastrand::Rng) -> f64 {
    // In (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests;
