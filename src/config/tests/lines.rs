//! Chargers that share a line, by the same link or by another name for it.

use std::os::unix::fs::symlink;
use std::path::Path;

use control::{ChargerId, Millis};

use super::{BASE, good, lines, read, whoever_it_is, with_line};
use crate::config::{Environment, Files, LinkConfig, Loaded, parse};

/// `BASE` with two chargers with these links and further keys; the second has unit 2.
fn two(links: [&str; 2], keys: [&str; 2]) -> String {
    let second = format!(
        "[[charger]]\nname = \"b\"\nprofile = \"heidelberg-energy-control\"\nlink = \"{}\"\nunit = 2\n{}\n[home-assistant]",
        links[1], keys[1]
    );
    with_line(17, &format!("link = \"{}\"\n{}", links[0], keys[0])).replace("[home-assistant]", &second)
}

/// Parses with access to the devices.
fn look(text: &str) -> Loaded {
    whoever_it_is(parse(text, Path::new("test.toml"), &Environment::default(), &super::PROFILES, Files::Read))
}

const BUS: [&str; 2] = ["serial:///dev/bus"; 2];

#[test]
fn a_device_and_a_link_to_it_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    // Character devices that exist everywhere.
    let (by_id, other) = (folder.path().join("by-id"), folder.path().join("other"));
    symlink("/dev/null", &by_id).unwrap();
    symlink("/dev/zero", &other).unwrap();
    let named = |path: &Path| format!("serial://{}", path.display());
    let links = ["serial:///dev/null".to_owned(), named(&by_id)];
    let text = two([&links[0], &links[1]], ["", ""]);
    let loaded = look(&text);
    let found = lines(&loaded.findings);
    assert!(found.contains("warning: this is the same device as `charger[0].link`, /dev/null"), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
    let chargers = loaded.config.unwrap().chargers;
    let null = LinkConfig::Serial { path: "/dev/null".into() };
    assert_eq!([&chargers[&ChargerId(0)].link, &chargers[&ChargerId(1)].link], [&null, &null]);
    // On one line each charger needs its own unit.
    let found = lines(&look(&text.replace("unit = 2", "unit = 1")).findings);
    assert!(found.contains("error: charger 1 answers to unit 1 on the same link as well"), "{found}");
    // Different and missing devices are different lines.
    let text = two(["serial:///dev/null", &named(&other)], ["", ""]);
    assert_eq!(lines(&look(&text).findings), "");
    let text = two(["serial:///dev/no-such-1", "serial:///dev/no-such-2"], ["", ""]);
    assert_eq!(lines(&look(&text).findings), "");
}

#[test]
fn a_gateway_by_other_spellings_is_one_line() {
    for [first, second] in [
        ["tcp://gateway.lan:502", "tcp://Gateway.LAN"],
        ["tcp://gateway.lan", "tcp://gateway.lan./"],
        ["tcp://[fd00:0:0:0::1]", "tcp://[FD00::1]:502"],
        ["tcp://192.168.1.40", "tcp://[::ffff:192.168.1.40]:502"],
        ["serial:///dev/bus", "serial:///dev//bus"],
    ] {
        let chargers = good(&two([first, second], ["", ""])).chargers;
        assert_eq!(chargers[&ChargerId(0)].link, chargers[&ChargerId(1)].link, "{second}");
        let found = lines(&read(&two([first, second], ["", ""]).replace("unit = 2", "unit = 1")).findings);
        assert!(found.contains("answers to unit 1 on the same link"), "{second}: {found}");
    }
}

#[test]
fn all_on_a_line_wait_equally_long() {
    let replies = |text: &str| {
        let chargers = good(text).chargers;
        [chargers[&ChargerId(0)].reply, chargers[&ChargerId(1)].reply]
    };
    assert_eq!(replies(&two(BUS, ["", ""])), [None, None]);
    assert_eq!(replies(&two(BUS, ["", "reply-ms = 1200"])), [Some(Millis(1_200)); 2]);
    assert_eq!(
        replies(&two(["serial:///dev/a", "serial:///dev/b"], ["reply-ms = 1200", ""])),
        [Some(Millis(1_200)), None]
    );
    let found = lines(&read(&two(BUS, ["reply-ms = 700", "reply-ms = 1200"])).findings);
    assert!(found.contains("error: `charger[0].reply-ms` is 700, and both are on one line; write the same"), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn a_long_wait_must_fit_into_the_watchdog() {
    for (reply, says) in [("99", "from 100 to 5000"), ("5001", "from 100 to 5000"), ("0.5", "is out of range")] {
        let found = lines(&read(&BASE.replace("unit = 1", &format!("reply-ms = {reply}"))).findings);
        assert!(found.contains(&format!("18:12: error: {reply} is out of range")) && found.contains(says), "{found}");
    }
    let slow = BASE.replace("unit = 1", "poll-s = 6\nreply-ms = 5000");
    let found = lines(&read(&slow).findings);
    assert!(found.contains("19:12: error: with `poll-s` an answer may take 11 s"), "{found}");
    assert!(found.contains("the charger gives up after 30 s") && found.lines().count() == 1, "{found}");
    good(&slow.replace("poll-s = 6", "poll-s = 5"));
    // Without `reply-ms` there is no finding.
    good(&BASE.replace("unit = 1", "poll-s = 10"));
}
