//! A day as a picture (SVG): at the top, house and car stacked in front of the sun; at the bottom, battery and grid power; stops are
//! shaded, numbered, and explained below the picture.
//!
//! Left out: interactivity. The same run gives the same bytes.

mod draw;

use std::mem::discriminant;

use control::{Milliamps, Reason};

use super::engine::{Observer, Second, Totals};
use super::trace::Trace;

/// Number of points across the picture.
const POINTS: u32 = 1_100;

/// Averages over some seconds, in watts.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    solar: f64,
    house: f64,
    car: f64,
    battery: f64,
    grid: f64,
    seconds: f64,
}

/// A period without an order to charge.
#[derive(Debug, Clone)]
struct Stop {
    from_s: u32,
    until_s: u32,
    /// The first reason; `None` until there is data.
    first: Option<Reason>,
    /// Another reason that later kept it from charging.
    then: Option<Reason>,
    /// Whether it lies before the first charge, so that it did not stop anything.
    morning: bool,
}

impl Stop {
    /// Why the car does not charge. Momentary numbers are shown only for what stopped a charge.
    fn words(&self) -> String {
        let word = |reason: Reason| reason.code().replace('-', " ");
        match (self.first, self.then) {
            (None, _) => "no data yet".to_owned(),
            (Some(first), Some(then)) => format!("{}; then: {then}", word(first)),
            (Some(first), None) if self.morning => word(first),
            (Some(first), None) => first.to_string(),
        }
    }
}

/// Collects the data of the picture.
#[derive(Debug)]
pub struct Plot {
    first_s: u32,
    end_s: u32,
    /// Seconds per point.
    every_s: u32,
    points: Vec<Point>,
    stops: Vec<Stop>,
    /// Whether charging was ordered in the last second, and whether it ever was.
    on: bool,
    ever_on: bool,
}

impl Plot {
    /// Prepares a plot of a whole trace.
    pub fn new(trace: &Trace) -> Self {
        let (first_s, end_s) = (trace.first_s(), trace.end_s());
        let every_s = (end_s - first_s).div_ceil(POINTS).max(1);
        let points = vec![Point::default(); (end_s - first_s).div_ceil(every_s) as usize];
        Self { first_s, end_s, every_s, points, stops: Vec::new(), on: true, ever_on: false }
    }

    /// Draws the picture.
    pub fn svg(&self, name: &str, totals: &Totals) -> String {
        draw::svg(self, name, totals)
    }

    /// The mean of each point.
    fn means(&self) -> Vec<Point> {
        let mean = |point: &Point| {
            let by = |sum: f64| sum / point.seconds.max(1.0);
            Point {
                solar: by(point.solar),
                house: by(point.house),
                car: by(point.car),
                battery: by(point.battery),
                grid: by(point.grid),
                seconds: point.seconds,
            }
        };
        self.points.iter().map(mean).collect()
    }
}

/// Whether a later reason adds to the first one. Too little sun does not: every stop goes on with it.
const fn lasts(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::TooLittleSun { .. }
            | Reason::SunGone { .. }
            | Reason::MinimumOff { .. }
            | Reason::NoData { .. }
            | Reason::Starting
    )
}

impl Observer for Plot {
    type Error = std::io::Error;

    fn second(&mut self, second: &Second<'_>) -> Result<(), Self::Error> {
        let flows = second.flows;
        let place = second.t_s.saturating_sub(self.first_s) / self.every_s;
        if let Some(point) = self.points.get_mut(place as usize) {
            point.solar += flows.solar_w;
            point.house += flows.house_w;
            point.car += flows.car_w;
            point.battery += flows.battery_w;
            point.grid += flows.grid_w;
            point.seconds += 1.0;
        }
        let on = second.setpoint > Milliamps::ZERO;
        if !on {
            if self.on {
                let (from_s, morning) = (second.t_s, !self.ever_on);
                self.stops.push(Stop { from_s, until_s: from_s, first: None, then: None, morning });
            }
            let reason = second.reason();
            if let Some(stop) = self.stops.last_mut() {
                stop.until_s = second.t_s + 1;
                match stop.first {
                    // Reasons before the first sample explain nothing.
                    None if matches!(reason, Reason::NoData { .. } | Reason::Starting) => {}
                    None => stop.first = Some(reason),
                    Some(first) if lasts(reason) && discriminant(&first) != discriminant(&reason) => {
                        stop.then = Some(reason);
                    }
                    Some(_) => {}
                }
            }
        }
        self.on = on;
        self.ever_on |= on;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
