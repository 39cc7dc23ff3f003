//! Draws the collected data as SVG. Coordinates are pixels, rounded to tenths.

use std::fmt::Write;

use super::{Plot, Point, Stop};
use crate::simulate::Totals;

const WIDTH: f64 = 1_200.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 1_172.0;
/// The upper and lower panel: top and bottom edges.
const UPPER: (f64, f64) = (104.0, 404.0);
const LOWER: (f64, f64) = (428.0, 588.0);
/// Top of the explanations, and their line spacing.
const NOTES: f64 = 640.0;
const NOTE: f64 = 19.0;
/// Number of explanations shown; if there are more stops, the longest are chosen.
const NOTES_MAX: usize = 24;
/// A stop narrower than this gets no number in the picture.
const NUMBER_MIN: f64 = 7.0;

const SOLAR: &str = "#f2b705";
const HOUSE: &str = "#8c96a3";
const CAR: &str = "#1f6fc4";
const BATTERY: &str = "#2b9348";
const GRID: &str = "#c92a4b";

/// The scale of a panel.
struct Scale {
    top: f64,
    bottom: f64,
    low_kw: f64,
    high_kw: f64,
}

impl Scale {
    fn new((top, bottom): (f64, f64), low_w: f64, high_w: f64) -> Self {
        let step = |watts: f64| (watts / 2_000.0).ceil() * 2.0;
        Self { top, bottom, low_kw: 0.0 - step(-low_w).max(0.0), high_kw: step(high_w).max(2.0) }
    }

    fn y(&self, watts: f64) -> f64 {
        let share = (watts / 1_000.0 - self.low_kw) / (self.high_kw - self.low_kw);
        self.bottom - share * (self.bottom - self.top)
    }
}

pub(super) fn svg(plot: &Plot, name: &str, totals: &Totals) -> String {
    let points = plot.means();
    let most = |value: &dyn Fn(&Point) -> f64| points.iter().map(value).fold(0.0, f64::max);
    let upper = Scale::new(UPPER, 0.0, most(&|point| point.solar.max(point.house + point.car)));
    let takes = most(&|point| (-point.battery).max(-beyond(point) - point.grid));
    let lower = Scale::new(LOWER, -takes, most(&|point| point.battery.max(beyond(point) + point.grid)));
    let notes = shown(&plot.stops);
    let rows = f64::from(u32::try_from(notes.len().div_ceil(2)).unwrap_or(0));
    let height = NOTES + (rows + 1.5) * NOTE;

    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#212529\">"
    );
    let _ = writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>");
    head(&mut out, name, totals);
    axes(&mut out, plot, &upper, &lower);
    let x = |place: usize| plot.x(plot.first_s + u32::try_from(place).unwrap_or(0) * plot.every_s);
    let mut area = |scale: &Scale, from: &dyn Fn(&Point) -> f64, to: &dyn Fn(&Point) -> f64, paint: &str| {
        let there = points.iter().enumerate().map(|(at, point)| (x(at), scale.y(to(point))));
        let back = points.iter().enumerate().rev().map(|(at, point)| (x(at), scale.y(from(point))));
        let path: Vec<String> = there.chain(back).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(out, "<polygon {paint} points=\"{}\"/>", path.join(" "));
    };
    let filled = |color: &str, opacity: f64| format!("fill=\"{color}\" fill-opacity=\"{opacity}\"");
    area(&upper, &|_| 0.0, &|point| point.solar, &filled(SOLAR, 0.45));
    area(&upper, &|_| 0.0, &|point| point.house, &filled(HOUSE, 0.9));
    area(&upper, &|point| point.house, &|point| point.house + point.car, &filled(CAR, 0.75));
    // The sun's outline once more, in front: whatever rises above it is not solar.
    area(&upper, &|point| point.solar, &|point| point.solar, &format!("fill=\"none\" stroke=\"{SOLAR}\""));
    area(&lower, &|_| 0.0, &|point| point.battery, &filled(BATTERY, 0.6));
    area(&lower, &beyond, &|point| beyond(point) + point.grid, &filled(GRID, 0.6));
    stops(&mut out, plot, &notes);
    explanations(&mut out, plot, &notes);
    out.push_str("</svg>\n");
    out
}

/// Base of the grid's area: stacked on the battery's if both give or both take.
fn beyond(point: &Point) -> f64 {
    if point.battery * point.grid > 0.0 { point.battery } else { 0.0 }
}

impl Plot {
    fn x(&self, t_s: u32) -> f64 {
        let share = f64::from(t_s.saturating_sub(self.first_s)) / f64::from((self.end_s - self.first_s).max(1));
        LEFT + share * (RIGHT - LEFT)
    }
}

/// Draws the title with the totals, and the legend.
fn head(out: &mut String, name: &str, totals: &Totals) {
    let ledger = &totals.ledger;
    let kwh = |watt_hours: f64| watt_hours / 1_000.0;
    let share = if ledger.car_wh > 0.0 { ledger.solar_to_car_wh / ledger.car_wh * 100.0 } else { 0.0 };
    let starts = if ledger.starts == 1 { "1 start".to_owned() } else { format!("{} starts", ledger.starts) };
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"32\" font-size=\"21\" font-weight=\"bold\">{}: {:.1} kWh into the car, {share:.0} % from the sun, {starts}</text>",
        escaped(name),
        kwh(ledger.car_wh),
    );
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"56\" fill=\"#495057\">Into the car: {:.2} kWh from the sun, {:.2} from the grid, {:.2} from the home battery. \
         Whole house: {:.1} kWh produced, {:.1} imported, {:.1} exported.</text>",
        kwh(ledger.solar_to_car_wh),
        kwh(ledger.grid_to_car_wh),
        kwh(ledger.battery_to_car_wh),
        kwh(ledger.solar_wh),
        kwh(ledger.import_wh),
        kwh(ledger.export_wh),
    );
    let mut x = LEFT;
    for (color, text, width) in [
        (SOLAR, "sun", 56.0),
        (HOUSE, "house", 68.0),
        (CAR, "car, on top of the house", 180.0),
        (BATTERY, "home battery", 112.0),
        (GRID, "grid", 58.0),
        ("#e3e5e8", "not charging; the number is that of the reason below", 0.0),
    ] {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"74\" width=\"14\" height=\"14\" fill=\"{color}\"/><text x=\"{:.0}\" y=\"86\">{text}</text>",
            x + 20.0
        );
        x += width + 12.0;
    }
}

fn axes(out: &mut String, plot: &Plot, upper: &Scale, lower: &Scale) {
    for scale in [upper, lower] {
        let mut kw = scale.low_kw;
        while kw <= scale.high_kw {
            let y = scale.y(kw * 1_000.0);
            let color = if kw.abs() < 0.1 { "#495057" } else { "#dee2e6" };
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{color}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{kw:.0}</text>",
                LEFT - 8.0,
                y + 4.5
            );
            kw += 2.0;
        }
        let _ = writeln!(out, "<text x=\"14\" y=\"{:.0}\" fill=\"#495057\">kW</text>", scale.top + 4.0);
    }
    let side = |y: f64, text: &str, anchor: &str| {
        format!(
            "<text transform=\"translate(26 {y:.0}) rotate(-90)\" text-anchor=\"{anchor}\" font-size=\"11\" fill=\"#495057\">{text}</text>\n"
        )
    };
    *out += &side(f64::midpoint(upper.top, upper.bottom), "made and used", "middle");
    *out += &side(lower.y(0.0) - 4.0, "gives", "start");
    *out += &side(lower.y(0.0) + 4.0, "takes", "end");
    let long_s = plot.end_s - plot.first_s;
    let step_s = [60, 300, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 7 * 86_400, 30 * 86_400]
        .into_iter()
        .find(|step| long_s / step <= 14)
        .unwrap_or(365 * 86_400);
    let mut t_s = plot.first_s.div_ceil(step_s) * step_s;
    while t_s <= plot.end_s {
        let x = plot.x(t_s);
        let text =
            if step_s < 86_400 { clock(t_s % 86_400, t_s == plot.end_s) } else { format!("day {}", t_s / 86_400 + 1) };
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {}V{}\" stroke=\"#eceff1\"/><text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{text}</text>",
            upper.top,
            lower.bottom,
            lower.bottom + 19.0
        );
        t_s += step_s;
    }
    let _ = writeln!(
        out,
        "<text x=\"{RIGHT}\" y=\"{:.0}\" text-anchor=\"end\" font-size=\"11\" fill=\"#495057\">time of day</text>",
        lower.bottom + 34.0
    );
}

/// Formats hours and minutes; midnight at the end of a day is 24:00.
fn clock(t_s: u32, end: bool) -> String {
    if t_s == 0 && end { "24:00".to_owned() } else { format!("{:02}:{:02}", t_s / 3_600, t_s % 3_600 / 60) }
}

/// The stops to explain, in order of time: the longest if there are too many.
fn shown(stops: &[Stop]) -> Vec<&Stop> {
    let mut shown: Vec<&Stop> = stops.iter().collect();
    shown.sort_by_key(|stop| std::cmp::Reverse(stop.until_s - stop.from_s));
    shown.truncate(NOTES_MAX);
    shown.sort_by_key(|stop| stop.from_s);
    shown
}

/// Draws the shades of the stops, with numbers where there is room.
fn stops(out: &mut String, plot: &Plot, notes: &[&Stop]) {
    for stop in &plot.stops {
        let (from, until) = (plot.x(stop.from_s), plot.x(stop.until_s));
        let _ = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"#343a40\" fill-opacity=\"0.08\"/>",
            UPPER.0,
            (until - from).max(0.3),
            LOWER.1 - UPPER.0
        );
    }
    for (number, stop) in (1..).zip(notes) {
        let (from, until) = (plot.x(stop.from_s), plot.x(stop.until_s));
        if until - from >= NUMBER_MIN {
            let middle = f64::midpoint(from, until);
            let _ = writeln!(
                out,
                "<text x=\"{middle:.1}\" y=\"{:.0}\" text-anchor=\"middle\" font-size=\"10\" font-weight=\"bold\">{number}</text>",
                UPPER.0 + 12.0
            );
        }
    }
}

/// Draws the reasons in words, in two columns.
fn explanations(out: &mut String, plot: &Plot, notes: &[&Stop]) {
    let half = notes.len().div_ceil(2);
    for (at, stop) in notes.iter().enumerate() {
        let (column, row) = if at < half { (LEFT, at) } else { (f64::midpoint(LEFT, RIGHT), at - half) };
        let y = NOTES + f64::from(u32::try_from(row).unwrap_or(0)) * NOTE;
        let _ = writeln!(
            out,
            "<text x=\"{column:.0}\" y=\"{y:.0}\"><tspan font-weight=\"bold\">{}</tspan> {} to {}: {}</text>",
            at + 1,
            moment(stop.from_s),
            if stop.until_s == plot.end_s { "the end".to_owned() } else { moment(stop.until_s) },
            escaped(&stop.words())
        );
    }
    if plot.stops.len() > notes.len() {
        let y = NOTES + f64::from(u32::try_from(half).unwrap_or(0)) * NOTE;
        let more = plot.stops.len() - notes.len();
        let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{y:.0}\" fill=\"#495057\">and {more} shorter ones</text>");
    }
}

/// Formats the time of day, with the day if there are several.
fn moment(t_s: u32) -> String {
    let day = t_s / 86_400;
    let prefix = if day > 0 { format!("day {} ", day + 1) } else { String::new() };
    prefix + &clock(t_s % 86_400, false)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
