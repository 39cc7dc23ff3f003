use super::*;
use crate::simulate::{Scenario, Simulation, TraceRow};

/// Draws a trace with these rows (second, solar watts).
fn picture(rows: &[(u32, f32)], end_s: u32, change: impl Fn(&mut control::Config)) -> String {
    let rows = rows.iter().map(|(from_s, solar_w)| TraceRow { from_s: *from_s, solar_w: *solar_w, house_w: 300.0 });
    let trace = Trace::from_rows(rows.collect(), end_s).unwrap();
    let scenario = Scenario::Powerwall30s;
    let mut config = scenario.config().unwrap();
    change(&mut config);
    let mut plot = Plot::new(&trace);
    let totals = Simulation::run(&config, &scenario.setup(), &trace, &mut plot).unwrap();
    plot.svg("a <day> & more", &totals)
}

#[test]
fn stops_are_shaded_and_explained() {
    let text = picture(&[(0, 0.0), (3_600, 8_000.0), (10_000, 500.0)], 14_400, |_| {});
    assert!(text.contains("1 start<") && text.contains("a &lt;day&gt; &amp; more: "), "{text}");
    assert!(text.contains("</tspan> 00:00 to 01:00: too little sun</text>"));
    assert!(text.contains("</tspan> 02:47 to the end: stopped: surplus 200 W, below "));
    assert_eq!(text.matches("fill=\"#343a40\"").count(), 2);
    assert!(!text.contains("NaN") && !text.contains("inf"));
}

#[test]
fn what_else_kept_it_from_charging_is_said() {
    let rows = [(0, 8_000.0), (3_600, 300.0), (5_400, 8_000.0)];
    let text = picture(&rows, 14_400, |config| config.solar.starts_per_day_max = 1);
    assert!(text.contains("sun gone; then: no more starts: 1 in 24 h"), "{text}");
}

#[test]
fn any_length_can_be_drawn() {
    for end_s in [1, 59, 7_200, 9 * 86_400] {
        let text = picture(&[(0, 5_000.0)], end_s, |_| {});
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"), "{end_s}");
    }
    // A year is drawn in the same steps; simulating it would take too long here.
    let row = TraceRow { from_s: 0, solar_w: 0.0, house_w: 0.0 };
    let plot = Plot::new(&Trace::from_rows(vec![row], 365 * 86_400).unwrap());
    assert!(plot.points.len() <= 1_100 && plot.means().len() == plot.points.len());
}
