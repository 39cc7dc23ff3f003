use control::{
    ChargerId, ChargerReport, ChargerView, Fault, Milliamps, Millis, Mode, Percent, Reachability, Reason, SiteView,
    Source, Tick, Vehicle, Volts, WattHours, Watts,
};
use serde_json::Value;

use super::{charger_power, messages};
use crate::model::status::{
    BrokerState, BrokerStatus, ChargerLink, ChargerStatus, InputState, InputStatus, Session, Status, Tally,
};

/// The longest value of everything.
fn widest_view(report: bool) -> ChargerView {
    let mut report = report.then(|| ChargerReport::silent(ChargerId(0), Tick(1_000), Reachability::ReadOnly));
    if let Some(report) = &mut report {
        report.vehicle = Vehicle::Requesting;
        report.power = Some(Watts(-100_000));
        report.currents = Some([Milliamps(16_040), Milliamps(0), Milliamps(5_999)]);
        report.voltages = Some([Volts(230); 3]);
        report.connected = Some(3);
        report.energy = Some(WattHours(264_900));
    }
    ChargerView {
        mode: Mode::SlowSolar,
        fixed: Milliamps(16_000),
        setpoint: Milliamps(31_990),
        reason: Reason::TooLittleSun { surplus: Watts(-1234), start_at: Watts(4140) },
        report,
        phases: 3,
        starts: 2,
        overdrawn: None,
        power_doubted: false,
        needs: None,
        box_limit: None,
    }
}

fn charger(id: u8, name: &str, known: bool) -> ChargerStatus {
    let today = Tally { solar_mj: 10_800_000_000, grid_mj: 3_600_000_000, starts: 2, ..Tally::ZERO };
    ChargerStatus {
        id: ChargerId(id),
        name: name.to_owned(),
        view: widest_view(known),
        link: ChargerLink { since: Tick(1_500), why: None, next_try: Some(Tick(7_000)) },
        energy: known.then_some(WattHours(12_345)),
        today,
        session: known.then_some(Session { lasts: Millis(60_000), tally: today }),
    }
}

fn status(names: &[&str], known: bool) -> Status {
    let watts = |value| known.then_some(Watts(value));
    Status {
        at: Tick(5_500),
        site: SiteView {
            grid: watts(-100_000),
            solar: watts(100_000),
            battery: watts(-100_000),
            load: watts(100_000),
            soc: known.then_some(Percent(100)),
            house: watts(100_000),
            surplus: watts(-100_000),
            age: known.then_some(Millis(29_999)),
            imbalance: None,
            soc_age: known.then_some(Millis(29_999)),
            missing: if known { control::Sources::NONE } else { control::Sources(0b1111) },
            doubt: (!known)
                .then_some(control::Doubt::BatteryFromGrid { grid: Watts(100_000), battery: Watts(-100_000) }),
            cadence: known.then_some(Millis(30_000)),
            off_grid: !known,
        },
        chargers: (0..).zip(names).map(|(id, name)| charger(id, name, known)).collect(),
        inputs: vec![InputStatus { source: Source::Grid, state: InputState::Live, age: Some(Millis(3_000)) }],
        broker: BrokerStatus { state: BrokerState::Connected, since: Tick(2_500) },
        warnings: vec!["no data for solar".to_owned()],
    }
}

/// The longest names allowed.
const LONG: [&str; 2] = ["0-nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "1-nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"];

fn find<'a>(messages: &'a [(String, String)], topic: &str) -> Option<&'a str> {
    messages.iter().find(|(at, _)| at == topic).map(|(_, payload)| payload.as_str())
}

#[test]
fn the_document_is_stable() {
    let out = messages("s/h", &status(&["carport"], true));
    let golden = concat!(
        r#"{"age_s":29,"battery_soc_age_s":29,"battery_soc_percent":100,"battery_w":-100000,"#,
        r#""broker":{"next_try_in_s":null,"since_s":3,"state":"connected","why":null},"charger_w":-100000,"chargers":{"carport":{"#,
        r#""box_energy_wh":264900,"box_max_a":null,"box_min_a":null,"box_setpoint_a":null,"currents_a":[16.0,0.0,5.9],"#,
        r#""decision":"31.9 A (slow+solar): surplus -1234 W, starts at 4140 W","derated":false,"energy_wh":12345,"fault":null,"fixed_a":16.0,"link":"read-only","link_next_try_in_s":2,"link_since_s":4,"link_why":null,"mode":"slow+solar","#,
        r#""overdrawn_a":null,"phases":3,"phases_connected":3,"power_doubted":false,"power_w":-100000,"#,
        r#""reason":{"code":"too-little-sun","text":"surplus -1234 W, starts at 4140 W"},"report_age_s":4,"#,
        r#""session":{"battery_wh":0,"energy_wh":4000,"grid_wh":1000,"since_s":60,"solar_wh":3000,"starts":2,"sun_percent":75},"#,
        r#""setpoint_a":31.9,"starts_24h":2,"takes_from_a":null,"#,
        r#""today":{"battery_wh":0,"energy_wh":4000,"grid_wh":1000,"solar_wh":3000,"starts":2,"sun_percent":75},"#,
        r#""vehicle":"requesting","voltages_v":[230,230,230],"#,
        r#""waking":false}},"doubt":null,"grid_w":-100000,"house_w":100000,"imbalance_w":null,"#,
        r#""inputs":{"grid":{"age_s":3,"state":"live"}},"load_w":100000,"off_grid":false,"sample_every_s":30,"#,
        r#""solar_w":100000,"sources_missing":[],"surplus_w":-100000,"version":1,"warnings":["no data for solar"]}"#,
    );
    assert_eq!(find(&out, "s/h/state"), Some(golden));
    assert_eq!(find(&out, "s/h/reason"), Some("surplus -1234 W, starts at 4140 W"));
    for (leaf, want) in [
        ("mode", "slow+solar"),
        ("setpoint", "31.9"),
        ("charger", "-100000"),
        ("grid", "-100000"),
        ("solar", "100000"),
        ("battery", "-100000"),
        ("house", "100000"),
        ("surplus", "-100000"),
        ("soc", "100"),
        ("vehicle", "requesting"),
    ] {
        assert_eq!(find(&out, &format!("s/h/state/{leaf}")), Some(want), "{leaf}");
    }
    let short: Vec<_> = out.iter().filter(|(topic, _)| !topic.contains("/carport")).collect();
    assert_eq!(
        (out.len(), short.len()),
        (17, 12),
        "each charger has topics of its own, and one alone the short ones too"
    );
}

#[test]
fn what_is_not_known_is_never_zero() {
    let out = messages("s", &status(&["carport"], false));
    let document: Value = serde_json::from_str(find(&out, "s/state").expect("state")).expect("JSON");
    for key in [
        "grid_w",
        "solar_w",
        "battery_w",
        "load_w",
        "house_w",
        "surplus_w",
        "battery_soc_percent",
        "age_s",
        "charger_w",
    ] {
        assert_eq!(document.get(key), Some(&Value::Null), "{key}");
    }
    let charger = &document["chargers"]["carport"];
    for key in ["power_w", "energy_wh", "currents_a", "fault", "box_setpoint_a"] {
        assert_eq!(charger.get(key), Some(&Value::Null), "{key}");
    }
    for leaf in ["charger", "grid", "solar", "battery", "house", "surplus", "soc", "vehicle"] {
        assert_eq!(find(&out, &format!("s/state/{leaf}")), Some("unknown"), "{leaf}");
    }
}

/// For a charger that does not answer or cannot be controlled the setpoint is the one last read back, if any; what is wanted appears only
/// in the document.
#[test]
fn the_setpoint_shown_is_the_one_that_is_proven() {
    let none = "unknown";
    for (reason, read_back, shown) in [
        (Reason::Fast, None, "16.0"),
        (Reason::Offline, None, none),
        (Reason::Offline, Some(6_000), "6.0"),
        (Reason::Fault(Fault::Unusable), None, none),
        (Reason::Fault(Fault::Unusable), Some(13_000), "13.0"),
        (Reason::Fault(Fault::Refused), Some(10_000), "10.0"),
        (Reason::Fault(Fault::Error), Some(10_000), "16.0"),
    ] {
        let mut status = status(&["carport"], true);
        let view = &mut status.chargers[0].view;
        (view.setpoint, view.reason) = (Milliamps(16_000), reason);
        view.report.as_mut().unwrap().setpoint = read_back.map(Milliamps);
        let out = messages("s", &status);
        assert_eq!(find(&out, "s/state/setpoint"), Some(shown), "{reason:?} {read_back:?}");
        let document: Value = serde_json::from_str(find(&out, "s/state").unwrap()).unwrap();
        let charger = &document["chargers"]["carport"];
        assert_eq!(charger["setpoint_a"], 16.0, "what was decided");
        assert_eq!(charger["box_setpoint_a"].as_f64(), read_back.map(|current| f64::from(current) / 1_000.0));
    }
}

#[test]
fn several_chargers_have_topics_of_their_own() {
    let mut both = status(&["a", "b"], true);
    let view = &mut both.chargers[1].view;
    view.mode = Mode::Off;
    view.reason = Reason::Off;
    view.report = None;
    let out = messages("s", &both);
    for short in ["s/state/mode", "s/state/setpoint", "s/state/vehicle", "s/reason"] {
        assert_eq!(find(&out, short), None, "of which charger?");
    }
    assert_eq!(find(&out, "s/state/a/mode"), Some("slow+solar"));
    assert_eq!(find(&out, "s/state/b/mode"), Some("off"));
    assert_eq!(find(&out, "s/state/a/charger"), Some("-100000"));
    assert_eq!(find(&out, "s/state/b/charger"), Some("unknown"));
    assert_eq!(find(&out, "s/state/charger"), Some("unknown"), "a sum with an unknown part is unknown");
    assert_eq!(find(&out, "s/reason/b"), Some("switched off"));
}

/// MQTT 3.1.1, section 3.3: one byte, remaining length, topic with its length, packet id (`QoS` 1), payload.
fn packet_size(topic: &str, payload: &str) -> usize {
    let rest = 2 + topic.len() + 2 + payload.len();
    rest + 1 + if rest < 128 { 1 } else { 2 }
}

#[test]
fn single_values_fit_in_128_bytes() {
    let base = "b".repeat(64);
    for known in [true, false] {
        for chargers in [&LONG[..0], &LONG[..1], &LONG] {
            let out = messages(&base, &status(chargers, known));
            for (topic, payload) in out.iter().filter(|(topic, _)| topic.starts_with(&format!("{base}/state/"))) {
                assert!(packet_size(topic, payload) <= 128, "{topic} {payload}");
            }
        }
    }
}

#[test]
fn the_original_controllers_payload() {
    assert_eq!(charger_power(Watts(4140)), r#"{"chargeP": 4140, "unit": "W"}"#);
}
