//! What the controller gets to see of the plant: late, coarse, held between samples, and not all of one moment.
//!
//! Ideal meters are sampled together and speak at once in whole watts. `realistic` ones are 1 … 5 s late, up to 0.5 % off, noisy, and
//! silent where the value did not change, as statestream is.

use std::collections::VecDeque;

use control::Source;

use crate::sim::plant::Flows;

/// The sources that the simulated site has, in the order of a [`Burst`].
pub(super) const METERED: [Source; 5] =
    [Source::Grid, Source::Solar, Source::Battery, Source::Load, Source::BatterySoc];
const SOURCES: usize = METERED.len();
/// Samples are taken this many seconds before a multiple of the period: nothing happens at full minutes only.
const PHASE_S: u32 = 7;
/// Seconds of the past that skewed meters can show.
const MEMORY: usize = 64;
/// Largest gain error of a realistic meter.
const GAIN: f64 = 0.005;
/// Its noise, in watts (one standard deviation).
const NOISE_W: f64 = 20.0;
/// Longest delay or skew.
pub(super) const LATE_MAX_S: u32 = 60;

/// One value of each source, in `METERED`'s order; `None` is not published.
pub type Burst = [Option<i32>; SOURCES];

/// How the meters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetersOptions {
    /// Seconds between two samples; 0: every second.
    pub period_s: u32,
    /// Late, off, noisy, and silent without news.
    pub realistic: bool,
    /// Every sample arrives so many seconds late, besides what `realistic` adds; at most 60.
    pub delay_s: u32,
    /// Each meter shows what was up to so many seconds before the others (fixed for the run, by the seed); at most 60.
    pub skew_s: u32,
    /// A request for fresh samples is answered with one taken so many seconds later; `None`: it is not.
    pub refresh_delay_s: Option<u32>,
}

/// The site's meters.
#[derive(Debug, Clone)]
pub struct Meters {
    options: MetersOptions,
    random: fastrand::Rng,
    gains: [f64; SOURCES],
    skews_s: [u32; SOURCES],
    /// What was, by second modulo [`MEMORY`].
    past: [[f64; SOURCES]; MEMORY],
    began_s: u32,
    has_battery: bool,
    refresh_at_s: Option<u32>,
    /// Samples under way, with the second of their arrival.
    under_way: VecDeque<(u32, Burst)>,
    published: Burst,
}

impl Meters {
    /// Meters that begin at second `began_s`.
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

    /// A second has passed with these flows; a sample may be taken.
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

    /// Fresh samples are asked for. While one request is being answered, others are the same.
    pub const fn refresh(&mut self, t_s: u32) {
        if let (None, Some(delay_s)) = (self.refresh_at_s, self.options.refresh_delay_s) {
            // Asked after the second's sample, so that none is due before the next second.
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

    /// How old the charger's own meter is at this poll, in seconds.
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
        // One connection: no sample overtakes another.
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

    /// What differs from what was published before.
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

/// Standard normal (Box and Muller, 1958).
fn gaussian(random: &mut fastrand::Rng) -> f64 {
    // In (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests;
