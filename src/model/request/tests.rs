use control::{ChargerId, Command, Milliamps, Mode};

use super::{Refusal, Setting, Value};
use crate::model::Names;

fn names() -> Names {
    [(ChargerId(0), "carport".to_owned()), (ChargerId(1), "mode".to_owned())].into_iter().collect()
}

fn read(charger: Option<&str>, key: &str, text: &str) -> Result<Command, Refusal> {
    Setting::parse(charger, key, text.as_bytes())?.command(&names())
}

#[test]
fn modes() {
    for mode in Mode::ALL {
        assert_eq!(read(None, "mode", mode.name()), Ok(Command::Mode { charger: None, mode }));
    }
    let solar = |charger| Ok(Command::Mode { charger, mode: Mode::Solar });
    assert_eq!(read(Some("carport"), "mode", " Solar\n"), solar(Some(ChargerId(0))));
    assert_eq!(read(Some("mode"), "mode", "\"solar\""), solar(Some(ChargerId(1))), "a charger may be called mode");
    let error = read(None, "mode", "sun").unwrap_err().to_string();
    assert_eq!(error, "unknown mode \"sun\": use off, solar, slow, slow+solar, fast or fixed");
}

#[test]
fn currents() {
    let current = |text: &str| match Setting::parse(None, "current", text.as_bytes()) {
        Ok(Setting { value: Value::Current(current), .. }) => Some(current.0),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
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
    let eight = Command::FixedCurrent { charger: None, current: Milliamps(8_000) };
    assert_eq!(read(None, "current", "8"), Ok(eight));
}

#[test]
fn what_is_not_known_is_told_with_what_is() {
    let error = read(Some("garage"), "mode", "solar").unwrap_err().to_string();
    assert_eq!(error, "unknown charger \"garage\": use one of carport, mode, or none for all");
    for key in ["", "x", "Mode"] {
        assert!(matches!(read(None, key, "solar"), Err(Refusal::Key { .. })), "{key:?}");
    }
}

/// What stands behind the part that an error message can show counts as well.
#[test]
fn the_beginning_of_a_long_text_is_not_taken_for_all_of_it() {
    for (key, text) in [("mode", "fast"), ("current", "10")] {
        let long = format!("{text}{}x", " ".repeat(70));
        assert!(Setting::parse(None, key, long.as_bytes()).is_err(), "{long}");
    }
}

#[test]
fn garbage_does_not_panic() {
    for text in [&b"\xff\xfe\x00"[..], &vec![b'9'; 100_000], "ä".repeat(40).as_bytes()] {
        for key in ["mode", "current", "ä"] {
            let error = Setting::parse(None, key, text).expect_err("garbage").to_string();
            assert!(error.len() < 1_000, "{} bytes", error.len());
        }
    }
}
