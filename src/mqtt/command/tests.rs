use control::{ChargerId, Mode};

use super::{Commands, topics};
use crate::model::Names;
use crate::model::request::{Setting, Value};

fn say(key: &str, payload: &str) -> Option<Setting> {
    let message =
        Commands::new("surplusd/home").message(&format!("surplusd/home/set/{key}"), payload.as_bytes(), false);
    message.and_then(Result::ok)
}

#[test]
fn the_topic_tells_for_which_charger() {
    let fast = |charger: Option<&str>| Setting { charger: charger.map(str::to_owned), value: Value::Mode(Mode::Fast) };
    assert_eq!(say("mode", "fast"), Some(fast(None)));
    assert_eq!(say("carport/mode", "fast"), Some(fast(Some("carport"))));
    assert_eq!(say("mode/mode", "fast"), Some(fast(Some("mode"))), "a charger may be called mode");
    assert_eq!(say("carport", "fast"), None);
}

#[test]
fn not_for_us() {
    let commands = Commands::new("surplusd/home");
    for _ in 0..2 {
        let refusal = commands.message("surplusd/home/set/mode", b"fast", true).unwrap().unwrap_err();
        assert_eq!(refusal.code(), "retained");
        let remedy =
            "send it without the retain flag, and delete this one (`mosquitto_pub -r -n -t surplusd/home/set/mode`)";
        assert_eq!(refusal.to_string(), format!("a retained command is not carried out: {remedy}"));
    }
    for retained in [false, true] {
        let deleted = commands.message("surplusd/home/set/mode", b"", retained);
        assert_eq!(deleted, None, "somebody deletes a retained one");
    }
    assert_eq!(commands.message("surplusd/home/state", b"x", false), None);
    assert_eq!(commands.message("surplusd/homes/set/mode", b"fast", false), None);
}

/// Never a wildcard: anyone allowed to write below it could send us anything.
#[test]
fn exactly_the_topics_that_there_are() {
    let names: Names = [(ChargerId(0), "carport".to_owned())].into_iter().collect();
    let want = ["b/set/mode", "b/set/current", "b/set/carport/mode", "b/set/carport/current"];
    assert_eq!(topics("b", &names), want);
    let commands = Commands::new("b");
    for topic in want {
        let payload = if topic.ends_with("mode") { "off" } else { "6" };
        assert!(matches!(commands.message(topic, payload.as_bytes(), false), Some(Ok(_))), "{topic}");
    }
}
