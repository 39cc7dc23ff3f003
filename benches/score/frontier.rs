//! The benefit and cost of the user's two dials: one curve for each, as a picture (SVG). The same days give the same bytes.

use std::fmt::Write;

use control::{Config, Permille, WattHours};
use surplusd::simulate::{Nobody, Scenario, Simulation};

use crate::days::Measured;
use crate::side_by_side;

/// Break-even shares shown, in thousandths.
const SHARES: [u16; 8] = [500, 600, 667, 750, 800, 850, 900, 1_000];
/// Start costs shown, in watt-hours.
const COSTS: [i64; 8] = [20, 50, 100, 200, 270, 330, 450, 700];
/// Top, bottom, and the left edges of the two panels; their width.
const PANEL: (f64, f64) = (84.0, 424.0);
const LEFT: [f64; 2] = [70.0, 650.0];
const WIDTH: f64 = 480.0;

/// The result of one setting, as averages per day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// The value of the dial.
    dial: f64,
    solar_kwh: f64,
    other_kwh: f64,
    starts: f64,
}

/// Measures both curves on these days.
pub(crate) fn measure(days: &[Measured], scenario: Scenario) -> anyhow::Result<[Vec<Point>; 2]> {
    let config = scenario.config()?;
    let shares = SHARES.map(|share| {
        let mut config = config.clone();
        config.solar.min_share = Permille(share);
        average(days, scenario, &config, f64::from(share) / 1e3)
    });
    let costs = COSTS.map(|cost| {
        let mut config = config.clone();
        config.solar.start_cost = WattHours(cost);
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        average(days, scenario, &config, cost as f64)
    });
    Ok([shares.to_vec(), costs.to_vec()])
}

fn average(days: &[Measured], scenario: Scenario, config: &Config, dial: f64) -> Point {
    let setup = scenario.setup();
    let totals = side_by_side(days, |day| {
        let Ok(totals) = Simulation::run(config, &setup, &day.trace, &mut Nobody);
        totals.ledger
    });
    #[expect(clippy::cast_precision_loss, reason = "some days")]
    let count = days.len() as f64;
    let mean = |value: &dyn Fn(&surplusd::sim::plant::Ledger) -> f64| totals.iter().map(value).sum::<f64>() / count;
    Point {
        dial,
        solar_kwh: mean(&|ledger| ledger.solar_to_car_wh / 1e3),
        other_kwh: mean(&|ledger| (ledger.grid_to_car_wh + ledger.battery_to_car_wh) / 1e3),
        starts: mean(&|ledger| f64::from(ledger.starts)),
    }
}

/// Formats the curves as a table for people.
pub(crate) fn text(curves: &[Vec<Point>; 2]) -> String {
    let mut text = format!("{:<16}{:>8}{:>12}{:>12}{:>9}\n", "dial", "", "sun kWh", "other kWh", "starts");
    for (name, curve) in ["min-share", "start-cost-wh"].iter().zip(curves) {
        for point in curve {
            let Point { dial, solar_kwh, other_kwh, starts } = point;
            let _ = writeln!(text, "{name:<16}{dial:>8}{solar_kwh:>12.2}{other_kwh:>12.2}{starts:>9.1}");
        }
    }
    text + "\nAverages of a day, into the car.\n"
}

/// One axis of a panel.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// An axis that covers the values with four to ten round steps.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (low, high) = (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max));
        let step =
            [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0].into_iter().find(|step| (high - low) / step <= 6.0).unwrap_or(20.0);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low).max(1e-9)
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = vec![self.low];
        while let Some(last) = ticks.last().copied().filter(|last| last + self.step / 2.0 < self.high) {
            ticks.push(last + self.step);
        }
        ticks
    }
}

/// Draws the picture. `defaults` are the default values of the two dials.
pub(crate) fn svg(curves: &[Vec<Point>; 2], defaults: [f64; 2], what: &str) -> String {
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1180 490\" width=\"1180\" height=\"490\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#212529\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
    );
    let _ = writeln!(
        out,
        "<text x=\"70\" y=\"30\" font-size=\"19\" font-weight=\"bold\">What the dials give and cost</text>"
    );
    let _ = writeln!(
        out,
        "<text x=\"70\" y=\"52\" fill=\"#495057\">Averages of a day: {what}. Filled: the default.</text>"
    );
    let [shares, costs] = curves;
    let sun = |point: &Point| (point.other_kwh, point.solar_kwh);
    let wear = |point: &Point| (point.starts, point.other_kwh);
    let elsewhere = "kWh into the car from grid and home battery";
    panel(&mut out, LEFT[0], &Curve::new("min-share", shares, defaults[0], &sun), elsewhere, "kWh of sun into the car");
    panel(&mut out, LEFT[1], &Curve::new("start-cost-wh", costs, defaults[1], &wear), "starts", elsewhere);
    out + "</svg>\n"
}

/// A curve: its points in the coordinates of the two axes, with the dial's value at each.
struct Curve<'a> {
    dial: &'a str,
    default: f64,
    points: Vec<(f64, f64, f64)>,
}

impl<'a> Curve<'a> {
    fn new(dial: &'a str, points: &[Point], default: f64, place: &dyn Fn(&Point) -> (f64, f64)) -> Self {
        let point = |point: &Point| {
            let (x, y) = place(point);
            (x, y, point.dial)
        };
        Self { dial, default, points: points.iter().map(point).collect() }
    }
}

fn panel(out: &mut String, left: f64, curve: &Curve<'_>, across_title: &str, up_title: &str) {
    let across = Axis::of(curve.points.iter().map(|point| point.0));
    let up = Axis::of(curve.points.iter().map(|point| point.1));
    let place_x = |value: f64| left + across.share(value) * WIDTH;
    let place_y = |value: f64| PANEL.1 - up.share(value) * (PANEL.1 - PANEL.0);
    for tick in across.ticks() {
        let x = place_x(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {}V{}\" stroke=\"#dee2e6\"/><text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            PANEL.0,
            PANEL.1,
            PANEL.1 + 19.0,
            number(tick)
        );
    }
    for tick in up.ticks() {
        let y = place_y(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {y:.1}H{}\" stroke=\"#dee2e6\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left + WIDTH,
            left - 8.0,
            y + 4.5,
            number(tick)
        );
    }
    let line: Vec<String> =
        curve.points.iter().map(|(x, y, _)| format!("{:.1},{:.1}", place_x(*x), place_y(*y))).collect();
    let _ =
        writeln!(out, "<polyline fill=\"none\" stroke=\"#1f6fc4\" stroke-width=\"2\" points=\"{}\"/>", line.join(" "));
    for (x, y, dial) in &curve.points {
        let (x, y) = (place_x(*x), place_y(*y));
        let fill = if (dial - curve.default).abs() < 1e-6 { "#1f6fc4" } else { "#ffffff" };
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" stroke=\"#1f6fc4\" stroke-width=\"2\" fill=\"{fill}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 9.0,
            y + 15.0,
            number(*dial)
        );
    }
    let _ = writeln!(out, "<text x=\"{left}\" y=\"{:.0}\" font-weight=\"bold\">{}</text>", PANEL.0 - 10.0, curve.dial);
    let (middle_x, middle_y) = (left + WIDTH / 2.0, f64::midpoint(PANEL.0, PANEL.1));
    let _ = writeln!(
        out,
        "<text x=\"{middle_x:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#495057\">{across_title}</text>",
        PANEL.1 + 42.0
    );
    let _ = writeln!(
        out,
        "<text transform=\"translate({:.0} {middle_y:.0}) rotate(-90)\" text-anchor=\"middle\" fill=\"#495057\">{up_title}</text>",
        left - 46.0
    );
}

/// Formats a number without trailing zeros.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
