//! Valid files give the configuration they describe.

use std::path::PathBuf;

use control::{ChargerId, GroupId, Milliamps, Millis, Mode, Percent, Permille, PhaseSwitching, Source};

use super::{BASE, good, with_line};
use crate::config::{Environment, Files, LinkConfig, PhaseSwitch, Unit, parse};

#[test]
fn defaults() {
    let config = good(BASE);
    assert_eq!((config.mqtt.host.as_str(), config.mqtt.port), ("broker.lan", 8883));
    let tls = config.mqtt.tls.expect("mqtts");
    assert_eq!((tls.ca_file, tls.client_auth), (None, None));
    assert_eq!(config.mqtt.client_id, "surplusd");
    assert_eq!(config.mqtt.keep_alive_s, 20);
    assert_eq!(config.publish.base_topic, "surplusd/surplusd");
    assert_eq!(config.publish.charger_power_topic, None);
    assert_eq!(config.state_file, PathBuf::from("/var/lib/surplusd/state.json"));
    assert_eq!(config.control.site_limit, Milliamps(25_000));
    assert_eq!(config.control.sampling.refresh_every, Some(Millis(10_000)));
    assert_eq!(config.control.solar.min_share, Permille(750));
    assert_eq!(config.control.battery.buffer_soc, Percent(100));
    assert_eq!(config.control.fail_safe.blind_solar, Milliamps(0));
    assert_eq!(config.control.fail_safe.blind_fast, Milliamps(16_000));
    let limits = config.control.chargers[&ChargerId(0)];
    assert_eq!((limits.min, limits.max, limits.step), (Milliamps(6_000), Milliamps(16_000), Milliamps(100)));
    assert_eq!((limits.phases, limits.mode, limits.fixed), (3, Mode::Solar, Milliamps(6_000)));
    assert_eq!(limits.wake_after, Some(Millis(300_000)));
    let setup = &config.chargers[&ChargerId(0)];
    assert_eq!((setup.poll, setup.watchdog, setup.safe_current), (Millis(1_000), Millis(30_000), Milliamps(0)));
    assert_eq!(setup.link, LinkConfig::Serial { path: PathBuf::from("/dev/surplusd-rs485") });
    assert!(!setup.standby);
}

#[test]
fn the_preset_knows_old_and_new_names() {
    let config = good(&with_line(5, "site-name = \"haus\"\nbase-topic = \"stream/ha\""));
    let topics = |source| config.inputs[&source].topics.join(" ");
    assert_eq!(
        topics(Source::Grid),
        "stream/ha/sensor/powerwall_site_now/state stream/ha/sensor/powerwall_site_power/state \
         stream/ha/sensor/haus_site_power/state"
    );
    assert_eq!(
        topics(Source::BatterySoc),
        "stream/ha/sensor/powerwall_charge/state stream/ha/sensor/haus_charge/state"
    );
    for source in Source::ALL {
        let unit = match source {
            Source::Grid | Source::Solar | Source::Battery | Source::Load => Unit::Kilowatt,
            Source::BatterySoc => Unit::Percent,
            Source::GridStatus => Unit::OnOff,
            Source::Heartbeat => Unit::Any,
        };
        assert_eq!(config.inputs[&source].unit, unit);
        assert!(!config.inputs[&source].negate);
        assert_eq!(config.control.sources[&source], GroupId(0));
    }
    let config = good(&with_line(5, "site-name = \"powerwall\""));
    assert_eq!(config.inputs[&Source::Load].topics.len(), 2);
    assert_eq!(config.inputs[&Source::BatterySoc].topics.len(), 1);
}

#[test]
fn a_source_can_be_overridden_in_part() {
    let text = with_line(
        5,
        "grid = { positive = \"export\", unit = \"W\" }\nsolar = { topic = \"pv\", pointer = \"/w\", unit = \"W\", group = \"pv\" }",
    );
    let config = good(&text);
    let grid = &config.inputs[&Source::Grid];
    assert_eq!((grid.topics.len(), grid.unit, grid.negate), (3, Unit::Watt, true));
    let solar = &config.inputs[&Source::Solar];
    assert_eq!((solar.topics.as_slice(), solar.pointer.as_deref()), (["pv".to_owned()].as_slice(), Some("/w")));
    assert_eq!(config.control.sources[&Source::Solar], GroupId(1));
    assert_eq!(config.control.sources[&Source::Grid], GroupId(0));
}

#[test]
fn one_topic_may_carry_several_values() {
    let text = with_line(
        5,
        "grid = { topic = \"e\", pointer = \"/g\", unit = \"W\" }\nload = { topic = \"e\", pointer = \"/l\", unit = \"W\" }",
    );
    assert_eq!(good(&text).inputs[&Source::Load].topics, ["e"]);
}

#[test]
fn no_home_battery() {
    let config = good(&with_line(9, "present = false"));
    let left = [Source::Grid, Source::Solar, Source::Load, Source::GridStatus, Source::Heartbeat];
    assert_eq!(config.inputs.keys().copied().collect::<Vec<_>>(), left);
    assert_eq!(config.control.sources.len(), left.len());
}

#[test]
fn addresses() {
    let config = good(&with_line(3, "url = \"mqtts://[fd00::1]:18883/\""));
    assert_eq!((config.mqtt.host.as_str(), config.mqtt.port), ("fd00::1", 18883));
    let config = good(&with_line(17, "link = \"tcp://192.168.1.40\"").replace("unit = 1", "unit = 255"));
    let setup = &config.chargers[&ChargerId(0)];
    assert_eq!(setup.link, LinkConfig::Tcp { host: "192.168.1.40".to_owned(), port: 502 });
    assert_eq!(setup.unit, 255);
}

#[test]
fn limits_and_spans() {
    let text = with_line(7, "charger-limit-a = 20.5").replace(
        "unit = 1",
        "max-current-a = 12.3\npoll-s = 0.5\nmode = \"slow+solar\"\nfixed-current-a = 8.1\nwake-after-s = 0",
    );
    let config = good(&text);
    assert_eq!(config.control.site_limit, Milliamps(20_500));
    let limits = config.control.chargers[&ChargerId(0)];
    assert_eq!((limits.max, limits.fixed), (Milliamps(12_300), Milliamps(8_100)));
    assert_eq!((limits.mode, limits.wake_after, limits.min), (Mode::SlowSolar, None, Milliamps(6_000)));
    let blind = with_line(13, "blind-current-slow-a = 8").replace("unit = 1", "min-current-a = 8");
    let limits = good(&blind).control.chargers[&ChargerId(0)];
    assert_eq!((limits.min, limits.fixed), (Milliamps(8_000), Milliamps(8_000)), "`fixed` is not below it");
    let above = super::read(&with_line(18, "max-current-a = 20")).config.unwrap();
    assert_eq!(above.control.chargers[&ChargerId(0)].max, Milliamps(16_000), "what the wallbox can be told");
    assert_eq!(config.chargers[&ChargerId(0)].poll, Millis(500));
    assert_eq!(good(&with_line(13, "blind-current-a = -0.0")).control.fail_safe.blind_solar, Milliamps(0));
}

#[test]
fn phases_are_switched_only_where_it_is_asked_for() {
    let connect = BASE.replace("heidelberg-energy-control", "amperfied-connect");
    let id = ChargerId(0);
    let config = good(&connect);
    assert_eq!((&config.chargers[&id].phase_switch, config.control.chargers[&id].switching), (&None, None));
    let config = good(&connect.replace("unit = 1", "phase-switch = \"charger\""));
    assert_eq!(config.chargers[&id].phase_switch, Some(PhaseSwitch::Charger));
    assert_eq!(config.control.chargers[&id].switching, Some(PhaseSwitching { pause: Millis(60_000) }));
    let config = good(&connect.replace("unit = 1", "phase-switch = \"charger\"\nphase-switch-pause-s = 90"));
    assert_eq!(config.control.chargers[&id].switching, Some(PhaseSwitching { pause: Millis(90_000) }));
}

/// A contact needs no support from the charger.
#[test]
fn a_contact_of_a_relay_switches_the_phases_of_any_charger() {
    let config = good(&BASE.replace("unit = 1", "phase-switch = { relay = \"pico-carport\", contact = 2 }"));
    let id = ChargerId(0);
    let switch = PhaseSwitch::Contact { relay: "pico-carport".to_owned(), contact: 2 };
    assert_eq!(config.chargers[&id].phase_switch, Some(switch));
    assert_eq!(config.control.chargers[&id].switching, Some(PhaseSwitching { pause: Millis(60_000) }));
}

#[test]
fn relative_state_files_lie_where_systemd_says() {
    let text = format!("state-file = \"house.json\"\n{BASE}");
    assert_eq!(good(&text).state_file, PathBuf::from("/var/lib/surplusd/house.json"));
    let environment = Environment::from_variables(|name| match name {
        "STATE_DIRECTORY" => Some("/srv/state:/srv/other".into()),
        _ => None,
    });
    let loaded = parse(&text, "x.toml".as_ref(), &environment, &super::PROFILES, Files::Ignore);
    assert_eq!(loaded.config.expect("good").state_file, PathBuf::from("/srv/state/house.json"));
}

#[test]
fn carriage_returns_and_a_byte_order_mark_are_harmless() {
    good(&BASE.replace('\n', "\r\n"));
    good(&format!("\u{feff}{BASE}"));
}
