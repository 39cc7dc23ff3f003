//! Outages and silence, and how they are reported.

use control::{Millis, Source, Tick};

use super::super::news::News;
use super::{Inputs, config};
use crate::config::Unit;
use crate::model::status::InputState;

/// Grid and solar, each on a topic of its own.
fn site() -> Inputs {
    site_of(&[Source::Grid, Source::Solar])
}

fn site_of(sources: &[Source]) -> Inputs {
    let topic = |source: &Source| (*source, config(&[&format!("ha/{}", source.name())], None, Unit::Watt));
    Inputs::new(&sources.iter().map(topic).collect())
}

fn at(seconds: u64) -> Tick {
    Tick(1_000 + seconds * 1_000)
}

/// Lets the time of `seconds` pass; returns the news, each with its second.
fn pass(inputs: &mut Inputs, seconds: std::ops::Range<u64>) -> Vec<(u64, News)> {
    let mut said = Vec::new();
    for second in seconds {
        inputs.handle_timeout(at(second));
        said.extend(inputs.take_news().into_iter().map(|news| (second, news)));
    }
    said
}

/// A silence from the start of a connection is reported after two minutes, and again an hour later.
fn only(inputs: &mut Inputs) -> String {
    let said = pass(inputs, 0..3_800);
    let [(120, News::Silent(first)), (3_720, News::Silent(_))] = &said[..] else { panic!("{said:?}") };
    first.clone()
}

#[test]
fn nothing_at_all_points_to_access_list_and_names() {
    let mut inputs = site();
    inputs.link(true, at(0));
    let text = only(&mut inputs);
    for part in [
        "no site data for 2 min",
        "ha/grid (grid)",
        "ha/solar (solar)",
        "not even a stored",
        "access list",
        "site-name",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(inputs.statuses(at(10))[0].state, InputState::Never);
}

#[test]
fn a_refused_subscription_is_the_cause() {
    let mut inputs = site();
    inputs.link(true, at(0));
    inputs.refused(&["ha/grid".to_owned(), "ha/solar".to_owned()]);
    let text = only(&mut inputs);
    assert!(text.contains("refuses the subscription of ha/grid") && !text.contains("site-name"), "{text}");
}

#[test]
fn stored_values_alone_point_to_home_assistant() {
    let mut inputs = site();
    inputs.link(true, at(0));
    inputs.message("ha/grid", b"100", true, at(0));
    let text = only(&mut inputs);
    for part in ["grid: only a stored value", "nothing ever came on ha/solar", "Home Assistant is stopped"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("access list"), "{text}");
    assert_eq!(inputs.statuses(at(0))[0].state, InputState::Stored);
}

#[test]
fn what_cannot_be_read_is_shown() {
    let mut inputs = site();
    inputs.link(true, at(0));
    inputs.message("ha/grid", b"12 kW", false, at(0));
    inputs.message("ha/solar", b"unavailable", false, at(0));
    inputs.take_news();
    let text = only(&mut inputs);
    for part in ["ha/grid: \"12 kW\" (not a plain number", "ha/solar: \"unavailable\" (unavailable in Home Assistant)"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_silence_is_said_once_an_hour_and_its_end_too() {
    let mut inputs = site();
    inputs.link(true, at(0));
    for second in 0..100 {
        inputs.message("ha/grid", b"100", false, at(second));
        inputs.message("ha/solar", b"100", false, at(second));
    }
    let said = pass(&mut inputs, 100..8_000);
    let seconds: Vec<u64> = said.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [219, 3_819, 7_419]);
    assert!(said[0].1.to_string().contains("grid, solar sent live values before"), "{}", said[0].1);
    assert_eq!(inputs.warnings(at(8_000)).len(), 1);
    // A short interruption of the connection does not end the silence.
    inputs.link(false, at(8_000));
    inputs.link(true, at(8_010));
    assert!(pass(&mut inputs, 8_010..9_000).is_empty());
    inputs.message("ha/grid", b"100", false, at(9_000));
    let over = inputs.take_news();
    assert_eq!(over, [News::SilenceOver { after: Millis::from_secs(8_901) }]);
    assert_eq!(over[0].to_string(), "site data is back after 2 h");
    assert!(inputs.warnings(at(9_000)).is_empty());
}

#[test]
fn without_a_connection_silence_has_another_reason() {
    let mut inputs = site();
    assert!(pass(&mut inputs, 0..1_000).is_empty());
    inputs.link(true, at(1_000));
    assert!(pass(&mut inputs, 1_000..1_119).is_empty());
    inputs.link(false, at(1_119));
    assert!(pass(&mut inputs, 1_119..5_000).is_empty());
}

#[test]
fn one_source_that_is_never_heard_is_named_once() {
    let mut inputs = site();
    inputs.link(true, at(0));
    let mut said = Vec::new();
    for second in 0..10_000 {
        inputs.message("ha/grid", b"100", false, at(second));
        said.extend(pass(&mut inputs, second..second + 1));
    }
    let [(120, news @ News::Missing { source: Source::Solar, .. })] = &said[..] else { panic!("{said:?}") };
    assert!(news.to_string().contains("nothing was received for solar so far, not even a stored value, on ha/solar"));
}

/// A missing heartbeat that nobody has set up is not a fault of a site that is well.
#[test]
fn an_optional_source_that_is_never_heard_is_no_warning() {
    let mut inputs = site_of(&[Source::Grid, Source::Solar, Source::Heartbeat]);
    inputs.link(true, at(0));
    let mut said = Vec::new();
    for second in 0..1_000 {
        inputs.message("ha/grid", b"100", false, at(second));
        inputs.message("ha/solar", b"100", false, at(second));
        said.extend(pass(&mut inputs, second..second + 1));
    }
    let [(120, news)] = &said[..] else { panic!("{said:?}") };
    assert!(!news.is_bad() && news.to_string().contains("no heartbeat on ha/heartbeat: it is optional"), "{news}");
    assert!(inputs.warnings(at(1_000)).is_empty());
}

/// Each time an entity is `unknown` for 40 s, three times within an hour, it is reported at its beginning and at its end.
#[test]
fn every_outage_is_said() {
    let mut inputs = site();
    let mut said = Vec::new();
    for start in [0, 1_000, 2_000] {
        inputs.message("ha/grid", b"1", false, at(start));
        inputs.message("ha/grid", b"unknown", false, at(start + 10));
        inputs.message("ha/grid", b"unknown", false, at(start + 30));
        inputs.message("ha/grid", b"1", false, at(start + 50));
        said.extend(inputs.take_news());
    }
    let lines: Vec<String> = said.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[4], "no data for grid: ha/grid says \"unknown\", unknown in Home Assistant");
    assert_eq!(lines[5], "grid: back after 40 s without data (3 outages in the last hour)");
}

/// An integration that drops out briefly at each poll does not fill the SD card; a long outage is still reported.
#[test]
fn a_source_that_blinks_all_day_is_counted() {
    let mut inputs = site();
    let mut said = Vec::new();
    for start in (0..86_400).step_by(30) {
        inputs.message("ha/grid", b"unavailable", false, at(start));
        inputs.message("ha/grid", b"1", false, at(start + 10));
        inputs.handle_timeout(at(start + 10));
        said.extend(inputs.take_news());
    }
    assert!((100..400).contains(&said.len()), "{}", said.len());
    assert!(
        said.iter()
            .any(|news| matches!(news, News::More { count, .. } | News::Lost { more: count, .. } if *count > 15))
    );
    inputs.message("ha/grid", b"unavailable", false, at(86_401));
    inputs.message("ha/grid", b"unavailable", false, at(86_402));
    let said = pass(&mut inputs, 86_402..86_500);
    assert!(said.iter().any(|(_, news)| matches!(news, News::Lost { .. })), "{said:?}");
}
