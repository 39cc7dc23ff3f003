use super::*;

fn parse(text: &str) -> Result<Setup, SetupError> {
    Setup::parse(text, Path::new("plant.toml"))
}

#[test]
fn without_keys_it_is_a_powerwall_every_30_s() {
    assert_eq!(parse("").unwrap(), Setup::default());
    assert_eq!(Setup::default(), super::super::Scenario::Powerwall30s.setup());
}

#[test]
fn every_key_is_read() {
    let setup = parse(
        "battery = true\nbattery-soc-pct = 80\nmeter-period-s = 0\nrealistic = true\nphases = 1\ncar-arrives-s = 3600\n\
         car-leaves-s = 7200\ncar-wants-kwh = 4.5\ncar-max-a = 10\nseed = 9\nrefresh-delay-s = 2\nmeter-delay-s = 20\nmeter-skew-s = 5\n",
    )
    .unwrap();
    let expected = Setup {
        battery: Some(BatteryOptions { soc: 0.8, ..BatteryOptions::POWERWALL }),
        car: CarOptions {
            phases: 1,
            arrives_s: Some(3_600),
            leaves_s: Some(7_200),
            wants_wh: Some(4_500.0),
            max_amps: 10.0,
            ..CarOptions::ALL_DAY
        },
        meters: MetersOptions { period_s: 0, realistic: true, delay_s: 20, skew_s: 5, refresh_delay_s: Some(2) },
        seed: 9,
    };
    assert_eq!(setup, expected);
    assert_eq!(parse("battery = false").unwrap().battery, None);
    assert_eq!(setup.car_from(1_800).arrives_s, Some(1_800));
    assert_eq!(setup.car_from(5_000), CarOptions { arrives_s: Some(0), leaves_s: Some(2_200), ..expected.car });
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_do() {
    for (text, what) in [
        ("battery-soc-pct = 120", "plant.toml:1: battery-soc-pct is 120; give 0 to 100"),
        ("battery = true\nbattery-soc-pct = nan", "plant.toml:2: battery-soc-pct is NaN"),
        ("phases = 2", "plant.toml:1: phases is 2; give 1 or 3"),
        ("phases = 4", "plant.toml:1: phases is 4"),
        ("\n\nmeter-period-s = 9999", "plant.toml:3: meter-period-s is 9999; give 0 to 3600"),
        ("meter-period-s = -1", "plant.toml:1: "),
        ("meter-delay-s = 61", "plant.toml:1: meter-delay-s is 61; give 0 to 60"),
        ("car-max-a = 5", "plant.toml:1: car-max-a is 5; give 6 to 63"),
        ("car-arrives-s = 10\ncar-leaves-s = 10", "plant.toml:2: car-leaves-s is 10"),
        ("batery = true", "plant.toml:1: unknown field `batery`"),
        ("battery = \"yes\"", "plant.toml:1: invalid type"),
        ("seed = 1\nbattery =", "plant.toml:2: "),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(what), "{text:?}: {error}");
    }
}

#[test]
fn the_reference_is_the_defaults() {
    let with = reference(true).unwrap();
    let without = reference(false).unwrap();
    assert_eq!((with.sources.len(), without.sources.len()), (7, 5));
    assert_eq!((with.chargers.len(), with.battery.priority_soc.0, with.solar.min_share.0), (1, 0, 750));
    let charger = with.chargers.values().next().unwrap();
    assert_eq!((charger.mode, charger.phases, charger.max.0), (control::Mode::Solar, 3, 16_000));
}
