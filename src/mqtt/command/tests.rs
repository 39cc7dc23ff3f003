use std::collections::BTreeMap;

use control::{ChargerId, Command, Milliamps, Mode};

use super::{CommandError, Commands, topics};

fn commands() -> Commands {
    let names = BTreeMap::from([(ChargerId(0), "carport".to_owned()), (ChargerId(1), "mode".to_owned())]);
    Commands::new("surplusd/home", &names)
}

fn say(key: &str, payload: &str) -> Option<Result<Command, CommandError>> {
    commands().message(&format!("surplusd/home/set/{key}"), payload.as_bytes(), false)
}

#[test]
fn modes() {
    for mode in Mode::ALL {
        assert_eq!(say("mode", mode.name()), Some(Ok(Command::Mode { charger: None, mode })));
    }
    let solar = |charger| Some(Ok(Command::Mode { charger, mode: Mode::Solar }));
    assert_eq!(say("carport/mode", " Solar\n"), solar(Some(ChargerId(0))));
    assert_eq!(say("mode/mode", "\"solar\""), solar(Some(ChargerId(1))), "a charger may be called mode");
    let error = say("mode", "sun").expect("a command").expect_err("no mode").to_string();
    assert_eq!(error, "unknown mode \"sun\": off, solar, slow, slow+solar, fast, fixed");
}

#[test]
fn currents() {
    let current = |text: &str| match say("carport/current", text) {
        Some(Ok(Command::FixedCurrent { charger: Some(ChargerId(0)), current })) => Some(current.0),
        Some(Ok(other)) => panic!("{other:?}"),
        Some(Err(_)) => None,
        None => panic!("not seen"),
    };
    for (text, want) in [
        ("6", Some(6_000)),
        ("6.0", Some(6_000)),
        ("12.5", Some(12_500)),
        ("32", Some(32_000)),
        ("\"16\"", Some(16_000)),
        ("1e1", Some(10_000)),
        ("10.19", Some(10_100)),
        ("5.999999", None),
        ("32.1", None),
        ("0", None),
        ("-10", None),
        ("nan", None),
        ("10 A", None),
        ("10,5", None),
        ("99999999999", None),
    ] {
        assert_eq!(current(text), want, "{text}");
    }
    assert_eq!(say("current", "8"), Some(Ok(Command::FixedCurrent { charger: None, current: Milliamps(8_000) })));
}

#[test]
fn what_is_not_known_is_told_with_what_is() {
    for key in ["", "x", "garage/mode", "carport/x", "carport/mode/x", "/mode"] {
        let error = say(key, "solar").expect("seen").expect_err(key).to_string();
        assert!(error.contains("carport, mode"), "{error}");
    }
}

#[test]
fn not_for_us() {
    let mut commands = commands();
    assert_eq!(commands.message("surplusd/home/set/mode", b"fast", true), None, "retained");
    assert_eq!(commands.message("surplusd/home/set/mode", b"", false), None, "somebody deletes a retained one");
    assert_eq!(commands.message("surplusd/home/state", b"x", false), None);
    assert_eq!(commands.message("surplusd/homes/set/mode", b"fast", false), None);
}

/// Never a wildcard: whoever may write below it could send us anything.
#[test]
fn exactly_the_topics_that_there_are() {
    let names = BTreeMap::from([(ChargerId(0), "carport".to_owned())]);
    let want = ["b/set/mode", "b/set/current", "b/set/carport/mode", "b/set/carport/current"];
    assert_eq!(topics("b", &names), want);
    let mut commands = Commands::new("b", &names);
    for topic in want {
        let payload = if topic.ends_with("mode") { "off" } else { "6" };
        assert!(matches!(commands.message(topic, payload.as_bytes(), false), Some(Ok(_))), "{topic}");
    }
}

#[test]
fn garbage_does_not_panic() {
    for payload in [&b"\xff\xfe\x00"[..], &vec![b'9'; 100_000], "ä".repeat(40).as_bytes()] {
        for key in ["mode", "current"] {
            let topic = format!("surplusd/home/set/{key}");
            let error = commands().message(&topic, payload, false).expect("seen").expect_err("garbage").to_string();
            assert!(error.len() < 1_000, "{} bytes", error.len());
        }
    }
}
