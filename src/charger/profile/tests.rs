use super::*;

fn heidelberg() -> Arc<Profile> {
    load("heidelberg-energy-control").unwrap()
}

fn edited(from: &str, to: &str) -> Result<Profile, ProfileError> {
    let (_, text) = CATALOG.iter().find(|(name, _)| *name == "heidelberg-energy-control").unwrap();
    assert!(text.contains(from), "{from} is not in the profile");
    Profile::parse("edited", &text.replacen(from, to, 1))
}

#[test]
fn every_embedded_profile_parses_and_cites_its_registers() {
    for name in names() {
        let profile = load(name).unwrap();
        assert!(!profile.source.is_empty());
        assert!(profile.registers.iter().all(|register| !register.cite.is_empty() && !register.title.is_empty()));
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = load("heidelburg").unwrap_err();
    assert!(error.to_string().contains("heidelberg-energy-control"), "{error}");
}

#[test]
fn layouts_are_hex_digits_and_ordered() {
    assert_eq!(Layout::parse("1.0.7"), Some(Layout(0x107)));
    assert_eq!(Layout::parse("2.0.4"), Some(Layout(0x204)));
    assert_eq!(Layout(0x204).to_string(), "2.0.4");
    assert!(Layout(0x107) < Layout(0x108) && Layout(0x108) < Layout(0x204));
    for wrong in ["", "1.0", "1.0.7.1", "1.0.16", "1.0.x"] {
        assert_eq!(Layout::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_poll_reads_what_the_layout_has() {
    let profile = heidelberg();
    assert_eq!(
        profile.poll_block(Layout(0)),
        (5, 8),
        "no layout of this wallbox: a read of no registers would be no request"
    );
    assert_eq!(profile.poll_block(Layout(0x103)), (5, 8));
    assert_eq!(profile.poll_block(Layout(0x104)), (5, 12));
    assert_eq!(profile.poll_block(Layout(0x107)), (5, 14));
    assert_eq!(profile.poll_block(Layout(0x204)), (5, 14));
}

#[test]
fn currents_round_down_and_the_forbidden_range_is_off() {
    let profile = heidelberg();
    let box_max = Milliamps(16_000);
    for (milliamps, raw) in [(0, 0), (5_999, 0), (6_000, 60), (6_099, 60), (10_050, 100), (16_000, 160), (32_000, 160)]
    {
        assert_eq!(profile.encode_current(Milliamps(milliamps), box_max), raw, "{milliamps} mA");
    }
    assert_eq!(profile.encode_current(Milliamps(16_000), Milliamps(8_000)), 80);
    assert_eq!(profile.encode_current(Milliamps(16_000), Milliamps(5_000)), 0);
    assert_eq!(profile.current_range(), (Milliamps(6_000), Milliamps(16_000), Milliamps(100)));
}

#[test]
fn values_have_sign_width_and_scale() {
    let profile = heidelberg();
    let find = |name: &str| profile.registers.iter().find(|register| register.name == name).unwrap();
    // The vendor's examples of register 9: 325 is +32.5 °C, −145 is −14.5 °C.
    assert_eq!(find("temperature").value(&[325]), Some(32_500));
    assert_eq!(find("temperature").value(&[(-145_i16).cast_unsigned()]), Some(-14_500));
    // Captured from a wallbox: 00 31 dd e9 is 3 268 073 VAh.
    assert_eq!(find("energy-total").value(&[0x0031, 0xdde9]), Some(3_268_073));
    assert_eq!(find("energy-total").value(&[1]), None);
    assert_eq!(Register::text(&[0x4142, 0x4300, 0x2020]), "ABC");
}

#[test]
fn mistakes_are_refused_with_their_place() {
    let typo = edited("gap-ms = 100", "gap = 100").unwrap_err();
    assert!(matches!(&typo, ProfileError::Syntax { text, .. } if text.contains("gap")), "{typo}");
    for (from, to, path) in [
        ("version = 1", "version = 2", "version"),
        ("min = 60", "min = 50", "set-current.min"),
        ("power = \"power\"", "power = \"powr\"", "measure"),
        ("control-since = \"1.0.7\"", "control-since = \"1.0.4\"", "layout.control-since"),
        ("stop-bits = 1", "stop-bits = 3", "link.stop-bits"),
        ("since = \"1.0.0\"", "since = \"1.0\"", "register.layout"),
        (
            "[lock]",
            "[phase-switch]\ncommand = \"power\"\nstate = \"power\"\none = 1\nthree = 3\nsettle-ms = 0\nconfirm-ms = 1\n[lock]",
            "phase-switch",
        ),
        (
            "[lock]",
            "[phase-switch]\ncommand = \"standby\"\nstate = \"power\"\none = 1\nthree = 1\nsettle-ms = 0\nconfirm-ms = 1\n[lock]",
            "phase-switch",
        ),
    ] {
        let error = edited(from, to).unwrap_err();
        assert!(matches!(&error, ProfileError::Invalid { path: found, .. } if found == path), "{to}: {error}");
    }
    // A hole in the polled run: register 9, the temperature, was moved away.
    let hole = edited("address = 9\n", "address = 40\n").unwrap_err();
    assert!(hole.to_string().contains("hole"), "{hole}");
}

#[test]
fn only_the_connect_series_switches_phases_and_only_from_its_layout_on() {
    assert!(heidelberg().phase_switch.is_none());
    assert!(heidelberg().registers.iter().all(|register| register.table == Table::Input || register.address < 500));
    let connect = load("amperfied-connect").unwrap();
    let switch = connect.phase_switch.as_ref().unwrap();
    assert_eq!((switch.command.address, switch.command.table), (501, Table::Holding));
    assert_eq!((switch.state.address, switch.state.table), (5_001, Table::Input));
    // Neither an Energy Control nor the first model of the connect series.
    assert!(switch.command.since > Layout(0x200) && switch.state.since > Layout(0x200));
    assert_eq!([0, 1, 2, 3].map(|raw| switch.decode(raw)), [None, Some(1), None, Some(3)]);
    assert_eq!([0, 1, 2, 3].map(|phases| switch.encode(phases)), [None, Some(1), None, Some(3)]);
    assert!(connect.standby.is_none());
    let able: Vec<_> =
        known().into_iter().filter(|profile| profile.switches_phases).map(|profile| profile.name).collect();
    assert_eq!(able, ["amperfied-connect"]);
}
