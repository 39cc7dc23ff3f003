use std::collections::BTreeMap;

use control::{
    ChargerId, ChargerReport, ChargerView, Fault, Link, Milliamps, Mode, Percent, Reason, SiteView, Snapshot, Tick,
    Vehicle, Volts, WattHours, Watts,
};
use serde_json::Value;

use super::{Health, charger_power, messages};

/// The longest of everything.
fn widest_view(report: bool) -> ChargerView {
    let mut report = report.then(|| ChargerReport::silent(ChargerId(0), Tick(1_000), Link::ReadOnly));
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

fn snapshot(chargers: u8, known: bool) -> Snapshot {
    let watts = |value| known.then_some(Watts(value));
    Snapshot {
        at: Tick(5_500),
        site: SiteView {
            grid: watts(-100_000),
            solar: watts(100_000),
            battery: watts(-100_000),
            load: watts(100_000),
            soc: known.then_some(Percent(100)),
            house: watts(100_000),
            surplus: watts(-100_000),
            age: known.then_some(control::Millis(29_999)),
            imbalance: None,
            soc_age: known.then_some(control::Millis(29_999)),
            missing: if known { control::Sources::NONE } else { control::Sources(0b1111) },
            doubt: (!known)
                .then_some(control::Doubt::BatteryFromGrid { grid: Watts(100_000), battery: Watts(-100_000) }),
            cadence: known.then_some(control::Millis(30_000)),
            off_grid: !known,
        },
        chargers: (0..chargers).map(|id| (ChargerId(id), widest_view(known))).collect(),
    }
}

fn names(count: u8) -> BTreeMap<ChargerId, String> {
    (0..count).map(|id| (ChargerId(id), format!("{id}-{}", "n".repeat(30)))).collect()
}

fn find<'a>(messages: &'a [(String, String)], topic: &str) -> Option<&'a str> {
    messages.iter().find(|(at, _)| at == topic).map(|(_, payload)| payload.as_str())
}

#[test]
fn the_document_is_stable() {
    let names = BTreeMap::from([(ChargerId(0), "carport".to_owned())]);
    let energies = BTreeMap::from([(ChargerId(0), WattHours(12_345))]);
    let health = Health {
        inputs: serde_json::json!({ "grid": { "state": "live", "age_s": 3 } }),
        warnings: vec!["no data for solar".to_owned()],
    };
    let out = messages("s/h", &names, &snapshot(1, true), &energies, &health);
    let golden = concat!(
        r#"{"age_s":29,"battery_soc_age_s":29,"battery_soc_percent":100,"battery_w":-100000,"charger_w":-100000,"chargers":{"carport":{"#,
        r#""box_energy_wh":264900,"box_max_a":null,"box_min_a":null,"box_setpoint_a":null,"currents_a":[16.0,0.0,5.9],"#,
        r#""derated":false,"energy_wh":12345,"fault":null,"fixed_a":16.0,"link":"read-only","mode":"slow+solar","#,
        r#""overdrawn_a":null,"phases":3,"phases_connected":3,"power_doubted":false,"power_w":-100000,"#,
        r#""reason":{"code":"too-little-sun","text":"surplus -1234 W, starts at 4140 W"},"report_age_s":4,"#,
        r#""setpoint_a":31.9,"starts_24h":2,"takes_from_a":null,"vehicle":"requesting","voltages_v":[230,230,230],"#,
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
    assert_eq!(out.len(), 12, "one charger has no topics of its own");
}

#[test]
fn what_is_not_known_is_never_zero() {
    let out = messages("s", &names(1), &snapshot(1, false), &BTreeMap::new(), &Health::default());
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
    let charger = &document["chargers"][&names(1)[&ChargerId(0)]];
    for key in ["power_w", "energy_wh", "currents_a", "fault", "box_setpoint_a"] {
        assert_eq!(charger.get(key), Some(&Value::Null), "{key}");
    }
    for leaf in ["charger", "grid", "solar", "battery", "house", "surplus", "soc", "vehicle"] {
        assert_eq!(find(&out, &format!("s/state/{leaf}")), Some("unknown"), "{leaf}");
    }
}

/// Of a charger that does not answer or cannot be controlled the setpoint is the one that was read back last, if any; what is wanted is in
/// the document only.
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
        let mut snapshot = snapshot(1, true);
        let view = snapshot.chargers.get_mut(&ChargerId(0)).unwrap();
        (view.setpoint, view.reason) = (Milliamps(16_000), reason);
        view.report.as_mut().unwrap().setpoint = read_back.map(Milliamps);
        let out = messages("s", &names(1), &snapshot, &BTreeMap::new(), &Health::default());
        assert_eq!(find(&out, "s/state/setpoint"), Some(shown), "{reason:?} {read_back:?}");
        let document: Value = serde_json::from_str(find(&out, "s/state").unwrap()).unwrap();
        let charger = &document["chargers"][&names(1)[&ChargerId(0)]];
        assert_eq!(charger["setpoint_a"], 16.0, "what was decided");
        assert_eq!(charger["box_setpoint_a"].as_f64(), read_back.map(|current| f64::from(current) / 1_000.0));
    }
}

#[test]
fn several_chargers_have_topics_of_their_own() {
    let names = BTreeMap::from([(ChargerId(0), "a".to_owned()), (ChargerId(1), "b".to_owned())]);
    let mut both = snapshot(2, true);
    if let Some(view) = both.chargers.get_mut(&ChargerId(1)) {
        view.mode = Mode::Off;
        view.reason = Reason::Off;
        view.report = None;
    }
    let out = messages("s", &names, &both, &BTreeMap::new(), &Health::default());
    assert_eq!(find(&out, "s/state/mode"), Some("slow+solar"), "of the first");
    assert_eq!(find(&out, "s/state/a/mode"), Some("slow+solar"));
    assert_eq!(find(&out, "s/state/b/mode"), Some("off"));
    assert_eq!(find(&out, "s/state/a/charger"), Some("-100000"));
    assert_eq!(find(&out, "s/state/b/charger"), Some("unknown"));
    assert_eq!(find(&out, "s/state/charger"), Some("unknown"), "a sum with an unknown part is unknown");
    assert_eq!(find(&out, "s/reason/b"), Some("switched off"));
    assert_eq!(find(&out, "s/reason"), find(&out, "s/reason/a"));
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
        for chargers in [0, 1, 2] {
            let out =
                messages(&base, &names(chargers), &snapshot(chargers, known), &BTreeMap::new(), &Health::default());
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
