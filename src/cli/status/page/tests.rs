use serde_json::json;

use super::*;

fn document() -> Value {
    json!({
        "solar_w": 7200, "house_w": 350, "grid_w": -20, "battery_w": 0, "battery_soc_percent": 81, "surplus_w": 6850,
        "off_grid": false, "doubt": null, "warnings": [],
        "chargers": { "carport": {
            "decision": "10.0 A (solar): following 6850 W of surplus", "vehicle": "charging", "power_w": 6870,
            "phases_connected": 3, "link": "online", "link_since_s": 7500, "report_age_s": 1, "fault": null,
            "today": { "energy_wh": 12_345, "sun_percent": 94, "starts": 3 },
            "session": { "energy_wh": 4_290, "sun_percent": 97, "starts": 1, "since_s": 4_200 },
        } },
        "inputs": {
            "grid": { "state": "live", "age_s": 4 },
            "heartbeat": { "state": "never", "age_s": null },
            "load": { "state": "never", "age_s": null },
            "solar": { "state": "stored", "age_s": null },
        },
        "broker": { "state": "connected", "since_s": 7_500, "why": null, "next_try_in_s": null },
    })
}

#[test]
fn a_page_says_what_it_does_why_and_how_old_its_data_is() {
    assert_eq!(
        page(&document(), 0),
        [
            "carport    10.0 A (solar): following 6850 W of surplus",
            "           car charging, draws 6870 W on 3 phases; wallbox online for 2 h 5 min",
            "           today 12.3 kWh, 94 % from the sun, 3 starts",
            "           this car 4.2 kWh in 70 min, 97 % from the sun, 1 start",
            "site       solar 7200 W, house 350 W, grid 20 W export, battery 0 W at 81 %, surplus 6850 W",
            "data       grid 4 s old, load never received, solar only stored by the broker",
            "broker     connected for 2 h 5 min",
        ]
    );
}

#[test]
fn what_is_wrong_comes_first() {
    let mut document = document();
    document["warnings"] = json!(["no data for solar"]);
    document["doubt"] = json!({ "code": "x", "text": "the sign is wrong" });
    document["broker"] = json!({ "state": "disconnected", "since_s": 30, "why": "refused", "next_try_in_s": 8 });
    let charger = &mut document["chargers"]["carport"];
    (charger["link"], charger["report_age_s"], charger["fault"]) = (json!("offline"), json!(40), json!("error"));
    (charger["link_why"], charger["link_next_try_in_s"]) = (json!("no answer: is it on?"), json!(7));
    let page = page(&document, 20);
    assert_eq!(
        page[..3],
        [
            "WARNING    the daemon has decided nothing for 20 s: it may hang",
            "WARNING    no data for solar",
            "WARNING    the meters are not believed: the sign is wrong",
        ]
    );
    assert!(
        page[4].ends_with("wallbox offline for 2 h 5 min, last report 40 s ago, fault: error, asked again in 7 s"),
        "{page:#?}"
    );
    assert_eq!(page[5], "           no answer: is it on?");
    assert_eq!(page[10], "broker     disconnected for 30 s, next attempt in 8 s: refused");
}

/// From a daemon that has just started, or one of another version.
#[test]
fn what_is_missing_is_unknown() {
    for document in [json!({}), json!({ "chargers": { "carport": {} }, "inputs": { "grid": {} } }), json!(7)] {
        let text = page(&document, 0).join("\n");
        assert!(text.contains("nothing is known yet") && !text.contains("null"), "{text}");
    }
}

/// The socket need not be that of this version's daemon.
#[test]
fn any_number_is_shown() {
    let mut document = document();
    (document["battery_w"], document["grid_w"]) = (json!(i64::MIN), json!(i64::MAX));
    for (watt_hours, shown) in [(-50, "0.0"), (-150, "-0.1"), (-12_340, "-12.3"), (i64::MIN, "-9223372036854775.8")] {
        document["chargers"]["carport"]["today"]["energy_wh"] = json!(watt_hours);
        let text = page(&document, 0).join("\n");
        assert!(text.contains(&format!("today {shown} kWh")), "{text}");
        assert!(text.contains("battery 9223372036854775808 W charging"), "{text}");
    }
}
