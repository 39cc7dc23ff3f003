//! Bad files: each mistake is found at its place, and nothing else is.

use super::{BASE, PROFILES, lines, read, with_line};
use crate::config::{Environment, Files, Severity, parse, unseen};

/// Line to replace, its replacement, the place of the only finding, and part of the finding's text.
type Case = (usize, &'static str, &'static str, &'static str);

#[track_caller]
fn check(cases: &[Case], severity: Severity) {
    for (number, line, place, says) in cases {
        let text = with_line(*number, line);
        let loaded = read(&text);
        let shown = lines(&loaded.findings);
        let [finding] = loaded.findings.as_slice() else { panic!("{line}: expected one finding, got:\n{shown}") };
        assert_eq!(format!("{}:{}", finding.line, finding.column), *place, "{line}: {shown}");
        assert!(shown.contains(says), "{line}: {says:?} is not in {shown}");
        assert_eq!(finding.severity, severity, "{line}: {shown}");
        assert_eq!(loaded.config.is_none(), severity == Severity::Error, "{line}");
        assert!(shown.starts_with(&format!("test.toml:{place}: {}: ", severity.name())), "{shown}");
        assert!(!finding.message.ends_with('.') && !finding.remedy.ends_with('.'), "{shown}");
        assert!(!finding.picture(&text, false).contains('\u{1b}'));
    }
}

#[test]
fn keys_and_types() {
    let cases: &[Case] = &[
        (1, "version = 2", "1:11", "this surplusd reads version 1"),
        (1, "version = 1.5", "1:11", "this surplusd reads version 1"),
        (1, "# nothing", "1:1", "begin it with `version = 1`"),
        (1, "version = \"1\"", "1:11", "must be a number, not string"),
        (1, "version = 1\nnonsense = 3", "2:1", "unknown key `nonsense`; the keys here are version, state-file"),
        (9, "flor-soc = 20", "9:1", "unknown key `flor-soc`; did you mean `floor-soc`?"),
        (9, "floor_soc = 20", "9:1", "did you mean `floor-soc`?"),
        (9, "floor-soc = \"20\"", "9:13", "write a plain number, without quotes"),
        (9, "floor-soc = \"20 %\"", "9:13", "must be a number"),
        (9, "present = 1", "9:11", "must be true or false, not integer"),
        (8, "[batery]", "8:2", "did you mean `battery`?"),
        (6, "[[site]]", "6:1", "must be a table, not list"),
        (5, "grid = [\"some/topic\"]", "5:8", "must be a table, not list"),
        (14, "[charger]", "14:1", "write [[charger]] with two brackets"),
        (3, "url = \"mqtts://b\"\npassword = \"hunter2\"", "4:1", "put the password into a file of its own"),
        (5, "grid = \"homeassistant/grid\"", "5:8", "`grid` must be a table"),
        (5, "grid = { topic = 5, unit = \"W\" }", "5:18", "put it in double quotes"),
        (5, "grid = { topic = \"a\", uint = \"W\" }", "5:23", "did you mean `unit`?"),
        (5, "    grid = { topic = \"ä/ö\", uint = \"W\" }", "5:29", "did you mean `unit`?"),
    ];
    check(cases, Severity::Error);
}

#[test]
fn syntax() {
    let cases: &[Case] = &[
        (5, "site-name = \"my_home", "5:21", "and texts stand in double quotes"),
        (5, "site-name = ", "5:13", "a value must follow the ="),
        (9, "floor-soc = 20\nfloor-soc = 30", "10:1", "given only once"),
        (10, "[battery]", "10:2", "given only once"),
    ];
    for case in cases {
        let loaded = read(&with_line(case.0, case.1));
        let first = loaded.findings.first().expect("a finding");
        assert_eq!(format!("{}:{}", first.line, first.column), case.2, "{}", lines(&loaded.findings));
        assert!(lines(&loaded.findings).contains(case.3), "{}", lines(&loaded.findings));
        assert!(loaded.config.is_none());
    }
    // All mistakes are reported, not only the first.
    let text = with_line(5, "site-name = ").replace("unit = 1", "unit = = 1");
    let found: Vec<usize> = read(&text).findings.iter().map(|finding| finding.line).collect();
    assert!(found.contains(&5) && found.contains(&18), "{found:?}");
}

/// Characters that come with text from web pages and Windows editors.
#[test]
fn characters_that_nobody_sees() {
    let cases: &[Case] = &[
        (
            5,
            "site-name = \"my\u{200b}_home\"",
            "5:16",
            "this text contains an invisible character, U+200B (zero width space); delete it",
        ),
        (5, "grid = { topic = \"a/b\u{a0}\", unit = \"W\" }", "5:22", "write it as \\u00A0"),
        (3, "url = \"mqtts://b\"\nusername = \"surplusd\u{feff}\"\npassword-file = \"p\"", "4:21", "byte order mark"),
        (3, "url = \"mqtts://b\"\nca-file = \"certs/ca.crt\t\"", "4:24", "U+0009 (tab)"),
        (15, "name = \"car\u{ad}port\"", "15:12", "soft hyphen"),
        (9, "floor-soc\u{a0}= 20", "9:10", "U+00A0 (no-break space) cannot stand here; write a plain blank"),
        (9, "\u{2003}floor-soc = 20", "9:1", "cannot stand here"),
        (5, "site-name = “my_home”", "5:13", "U+201C (typographic quotation mark) cannot stand here"),
    ];
    for (number, line, place, says) in cases {
        let loaded = read(&with_line(*number, line));
        let shown = lines(&loaded.findings);
        assert!(loaded.config.is_none(), "{line}");
        let first = loaded.findings.iter().find(|finding| finding.severity == Severity::Error).expect("an error");
        assert_eq!(format!("{}:{}", first.line, first.column), *place, "{line}: {shown}");
        assert!(shown.contains(says), "{line}: {says:?} is not in {shown}");
    }
    // In a comment it does no harm, and an escaped one is intended.
    for line in ["floor-soc = 20 #\u{a0}the floor", "floor-soc = 20 # “the floor”\u{200b}"] {
        assert_eq!(lines(&read(&with_line(9, line)).findings), "");
    }
    let meant = "url = \"mqtts://b\"\nusername = \"a\\u00A0b\"\npassword-file = \"p\"";
    assert_eq!(lines(&read(&with_line(3, meant)).findings), "");
}

#[test]
fn a_key_of_the_past_is_a_warning() {
    check(&[(20, "discovery-prefix = \"ha/\"", "20:20", "`discovery-prefix` is not used")], Severity::Warning);
}

#[test]
fn findings_are_nothing_but_text() {
    for written in ["\\u001b[31mred\\u0007", "\u{9b}31m\u{202e}", "a\u{200b}\u{e0041}b\u{ad}", "\u{7f}"] {
        let text = with_line(18, &format!("unit = 1\nmode = \"{written}\""));
        let loaded = read(&text);
        let seen = |text: &str| !text.contains(|c: char| c != '\n' && unseen(c));
        assert!(!loaded.findings.is_empty());
        for finding in &loaded.findings {
            let picture = finding.picture(&text, false);
            assert!(seen(&finding.to_string()) && seen(&picture), "{finding:?}: {picture:?}");
            assert!(picture.contains("19 | mode ="), "{picture}");
        }
    }
    let shown = lines(&read(&with_line(18, "unit = 1\nmode = \"\\u001b[31mred\\u0007\"")).findings);
    assert!(shown.contains("\\u{1b}[31mred"), "{shown}");
}

#[test]
fn broker() {
    let cases: &[Case] = &[
        (3, "# none", "2:1", "the broker's `url` is missing"),
        (3, "url = \"broker.lan\"", "3:7", "the url has no scheme"),
        (3, "url = \"ws://broker.lan\"", "3:7", "only mqtts:// and mqtt://"),
        (3, "url = \"ssl://broker.lan\"", "3:7", "written mqtts://"),
        (3, "url = \"mqtts://me:secret@broker.lan\"", "3:7", "user and password do not belong into the url"),
        (3, "url = \"mqtts://broker.lan:99999\"", "3:7", "the port must be within"),
        (3, "url = \"mqtts://broker.lan:+1\"", "3:7", "the port must be a number"),
        (3, "url = \"mqtts://::1\"", "3:7", "must be in brackets"),
        (3, "url = \"mqtts://[::1\"", "3:7", "not closed"),
        (3, "url = \"mqtts://\"", "3:7", "the host is missing"),
        (3, "url = \"mqtts://bro ker\"", "3:7", "no host name has"),
        (3, "url = \"mqtts://broker.lan/topic\"", "3:7", "nothing may follow"),
        (3, "url = \"mqtts://b\"\nkeep-alive-s = 3", "4:16", "use a number from 5 to 120"),
        (3, "url = \"mqtts://b\"\nkeep-alive-s = 20.5", "4:16", "20.5 is not a whole number; use 20 or 21"),
        (3, "url = \"mqtts://b\"\nclient-id = \"a/b\"", "4:13", "brokers refuse"),
        (3, "url = \"mqtts://b\"\npassword-file = \"p\"", "4:17", "a password but no user name"),
        (3, "url = \"mqtts://b\"\nusername = \"\"\npassword-file = \"p\"", "4:12", "the user name is empty"),
        (
            3,
            "url = \"mqtts://b\"\nusername = \"u\"\nusername-file = \"f\"\npassword-file = \"p\"",
            "5:17",
            "given twice",
        ),
        (3, "url = \"mqtts://b\"\nclient-cert-file = \"c\"", "4:20", "a client certificate but no key"),
        (3, "url = \"mqtts://b\"\nclient-key-file = \"k\"", "4:19", "a client key but no certificate"),
        (3, "url = \"mqtts://b\"\nca-file = \"\"", "4:11", "the name of the file is empty"),
        (1, "version = 1\nstate-file = \"/var/lib/\"", "2:14", "does not name a file"),
        (
            1,
            "version = 1\nstate-file = \"a\\u001b\"",
            "2:14",
            "the name contains U+001B (control character); write it as",
        ),
        (1, "version = 1\njournal.file = \"a\\u200b\"", "2:16", "the name contains U+200B (zero width space)"),
        (20, "node-id = \"my gateway\"", "20:11", "letters, digits, - and _"),
        (20, "node-id = \"a23456789012345678901234567890123\"", "20:11", "use 1 to 32"),
        (20, "node-id = \"\"", "20:11", "cannot be used"),
        (22, "base-topic = \"homeassistant/car\"", "22:14", "lies within \"homeassistant\""),
        (22, "base-topic = \"home/+/car\"", "22:14", "wildcard"),
        (22, "charger-power-topic = \"surplusd/surplusd/power\"", "22:23", "use a topic outside of it"),
        (22, "charger-power-topic = \"\"", "22:23", "the topic is empty"),
        (22, "state-every-s = 0", "22:17", "use a number from 1 to 3600"),
    ];
    check(cases, Severity::Error);
    let long = format!("base-topic = \"{}\"", "x".repeat(65));
    let found = read(&with_line(22, &long)).findings;
    assert!(lines(&found).contains("22:14: error: it is 65 bytes long"), "{}", lines(&found));
}

#[test]
fn inputs() {
    let cases: &[Case] = &[
        (5, "preset = \"home-assistant-powerwal\"", "5:10", "did you mean \"home-assistant-powerwall\"?"),
        (5, "site-name = \"My Home\"", "5:13", "not part of an entity id"),
        (5, "base-topic = \"home/#\"", "5:14", "wildcard"),
        (5, "grid = { topic = \"a/+/b\", unit = \"W\" }", "5:18", "wildcard"),
        (5, "grid = { topic = \"a\\u202eb\", unit = \"W\" }", "5:18", "a control character or an invisible one"),
        (5, "grid = { topic = \"a/b\" }", "5:8", "the unit is missing"),
        (5, "grid = { topic = \"a/b\", unit = \"kw\" }", "5:32", "did you mean"),
        (5, "grid = { unit = \"horses\" }", "5:17", "use one of \"kW\", \"W\""),
        (5, "grid = { positive = \"export \" }", "5:21", "did you mean \"export\"?"),
        (5, "battery = { positive = \"import\" }", "5:24", "use one of \"discharging\", \"charging\""),
        (5, "solar = { positive = \"import\" }", "5:22", "it has no direction"),
        (5, "battery-soc = { unit = \"kW\" }", "5:24", "use one of \"%\""),
        (5, "grid = { topic = \"a\", unit = \"W\", pointer = \"grid\" }", "5:45", "begins with a slash"),
        (5, "grid = { topic = \"a\", unit = \"W\", pointer = \"/a~2\" }", "5:45", "`~` is written ~0"),
        (5, "grid = { group = \"Grid 1\" }", "5:18", "group name"),
        (5, "grid = { topic = \"surplusd/surplusd/state\", unit = \"W\" }", "5:18", "published by surplusd itself"),
        (
            5,
            "grid = { topic = \"a\", unit = \"W\" }\nload = { topic = \"a\", unit = \"W\" }",
            "6:18",
            "`grid` and `load` are the same value of \"a\"",
        ),
        (
            5,
            "grid = { topic = \"homeassistant/sensor/powerwall_load_now/state\", unit = \"kW\" }",
            "5:18",
            "`grid` and `load` are the same value",
        ),
        (
            5,
            "grid = { topic = \"a\", unit = \"W\", pointer = \"/g\" }\nload = { topic = \"a\", unit = \"W\" }",
            "6:18",
            "the same value",
        ),
    ];
    check(cases, Severity::Error);
    // Our own publications must not come back as measurements.
    let text = with_line(22, "charger-power-topic = \"home/charger/power\"").replace(
        "[inputs]",
        "[inputs]\nload = { topic = \"home/charger/power\", unit = \"W\", pointer = \"/chargeP\" }",
    );
    let found = lines(&read(&text).findings);
    assert!(found.contains("5:18: error: \"home/charger/power\" is published by surplusd itself"), "{found}");
    let text = with_line(9, "present = false").replace("[inputs]", "[inputs]\nbattery = { unit = \"W\" }");
    let found = lines(&read(&text).findings);
    assert!(found.starts_with("test.toml:5:11: error: there is no home battery"), "{found}");
}

#[test]
fn by_hand_needs_grid_and_battery() {
    let found = lines(&read(&with_line(5, "preset = \"none\"")).findings);
    assert!(found.contains("error: `grid` is missing"), "{found}");
    assert!(found.contains("error: `battery` is missing"), "{found}");
    assert!(found.contains("warning: `solar` is missing"), "{found}");
    assert!(found.contains("warning: `battery-soc` is missing: `floor-soc`"), "{found}");
    let text = with_line(5, "preset = \"none\"").replace("floor-soc = 20", "priority-soc = 40");
    let found = lines(&read(&text).findings);
    assert!(found.contains("error: `battery-soc` is missing, but"), "{found}");
    let found = lines(&read(&with_line(5, "preset = \"none\"\ngrid = { unit = \"W\" }")).findings);
    assert!(found.contains("6:8: error: the topic is missing"), "{found}");
}

#[test]
fn site_and_policies() {
    let cases: &[Case] = &[
        (7, "main-fuse-a = -25", "7:15", "-25 is out of range; use a number from 6 to 250"),
        (7, "main-fuse-a = nan", "7:15", "NaN is out of range"),
        (7, "main-fuse-a = inf", "7:15", "inf is out of range"),
        (7, "main-fuse-a = 1e400", "7:15", "overflowed"),
        (7, "main-fuse-a = 24.95", "7:15", "24.95 is finer than 0.1; use 24.9 or 25"),
        (7, "charger-limit-a = 30", "7:19", "more than the main fuse of 25.0 A"),
        (7, "charger-limit-a = 4\nphases = 3", "7:19", "less than 6 A"),
        (7, "phases = 2", "7:10", "no house is connected with two phases"),
        (9, "floor-soc = 101", "9:13", "from 0 to 100"),
        (9, "floor-soc = 20.5", "9:13", "not a whole number"),
        (9, "priority-soc = 90\nbuffer-soc = 80", "9:16", "the thresholds cross"),
        (9, "floor-soc = 60\nbuffer-soc = 50", "9:13", "never at or below the floor"),
        (9, "max-charge-w = -1", "9:16", "out of range"),
        (9, "drain-budget-wh = nan", "9:19", "out of range"),
        (11, "min-share = 75", "11:13", "use a number from 0.5 to 1"),
        (11, "min-share = 0.4", "11:13", "use a number from 0.5 to 1"),
        (11, "min-share = 0.7512", "11:13", "finer than 0.001"),
        (11, "start-cost-wh = 2001", "11:17", "from 0 to 2000"),
        (11, "starts-per-day-max = 0", "11:22", "from 1 to 200"),
        (11, "min-off-s = 29", "11:13", "from 30 to 3600"),
        (11, "min-on-s = -1", "11:12", "out of range"),
        (13, "stale-after-s = 300", "13:17", "must come before the stop after 5 min"),
        (13, "stop-after-s = 60", "13:16", "data is stale after 90 s"),
        (13, "stop-after-s = 86400", "13:16", "out of range"),
        (13, "blind-current-a = 3", "13:19", "a car cannot be offered less than 6 A"),
        (13, "blind-current-fast-a = 20", "13:24", "use 0 for no charging, or 6 to 16"),
        (13, "blind-current-slow-a = -6", "13:24", "out of range"),
        (13, "blind-current-fixed-a = nan", "13:25", "out of range"),
        (13, "charger-watchdog-s = 3", "13:22", "from 4 to 60"),
        (13, "charger-current-a = 5.9", "13:21", "a car cannot be offered less than 6 A"),
        (13, "charger-current-a = 17", "13:21", "6 to 16"),
    ];
    check(cases, Severity::Error);
}

#[test]
fn chargers() {
    let cases: &[Case] = &[
        (15, "# no name", "14:1", "the charger has no `name`"),
        (15, "name = \"Car Port\"", "15:8", "it is part of topics"),
        (15, "name = \"a234567890123456789012345\"", "15:8", "use 1 to 24"),
        (16, "profile = \"heidelberg\"", "16:11", "did you mean \"heidelberg-energy-control\"?"),
        (16, "profile = \"zappi\"", "16:11", "use one of heidelberg-energy-control, amperfied-connect"),
        (16, "", "14:1", "the charger has no `profile`"),
        (17, "", "14:1", "the charger has no `link`"),
        (17, "link = \"relay://Pico\"", "17:8", "this is not the name of a relay"),
        (17, "link = \"/dev/ttyUSB0\"", "17:8", "only serial://, tcp:// and relay://"),
        (17, "link = \"serial://dev/ttyUSB0\"", "17:8", "absolute path"),
        (17, "link = \"serial:///dev/\\u202ex\"", "17:8", "of characters that are seen"),
        (17, "link = \"tcp://:502\"", "17:8", "the host is missing"),
        (17, "link = \"tcp://box:0\"", "17:8", "the port must be within"),
        (18, "unit = 0", "18:8", "from 1 to 247"),
        (18, "unit = 248", "18:8", "from 1 to 247"),
        (18, "unit = 1.5", "18:8", "not a whole number"),
        (18, "max-current-a = 5", "18:17", "a car cannot be offered less than 6 A"),
        (18, "max-current-a = 33", "18:17", "from 6 to 32"),
        (18, "max-current-a = 26", "18:17", "more than the 25.0 A that [site] allows"),
        (18, "max-current-a = 15.95", "18:17", "finer than 0.1"),
        (18, "min-current-a = 5", "18:17", "a car cannot be offered less than 6 A"),
        (18, "min-current-a = 17", "18:17", "more than `max-current-a`, 16.0 A; lower it"),
        (18, "max-current-a = 10\nmin-current-a = 12", "19:17", "more than `max-current-a`, 10.0 A"),
        (18, "fixed-current-a = 20", "18:19", "more than `max-current-a`, 16.0 A"),
        (18, "phases = 4", "18:10", "from 1 to 3"),
        (18, "mode = \"slow + solar\"", "18:8", "did you mean \"slow+solar\"?"),
        (18, "poll-s = 0", "18:10", "out of range"),
        (18, "poll-s = 11", "18:10", "three times `poll-s`"),
        (18, "wake-after-s = 5", "18:16", "use 0 for never, or 30 to 86400"),
        (
            18,
            "phase-switch = \"charger\"",
            "18:16",
            "cannot switch phases; leave it out; amperfied-connect can, and a contact",
        ),
        (18, "phase-switch = \"chargr\"", "18:16", "did you mean \"charger\"?"),
        (18, "phase-switch = true", "18:16", "must be \"charger\" or { relay = …, contact = 1 }, not boolean"),
        (18, "phase-switch = { relay = \"Pico!\", contact = 1 }", "18:16", "\"Pico!\" is not the name of a relay"),
        (18, "phase-switch = { relay = \"pico\", contact = 3 }", "18:44", "use a number from 1 to 2"),
        (18, "phase-switch = { relay = \"pico\", contact = 1.5 }", "18:44", "not a whole number"),
        (18, "phase-switch = { relay = \"pico\" }", "18:16", "contact"),
        (18, "phase-switch-pause-s = 5", "18:24", "from 10 to 600"),
        (18, "[[charger]]\nname = \"b\"\nprofile = \"zappi\"\nlink = \"tcp://b\"", "20:11", "is not known"),
    ];
    check(cases, Severity::Error);
    let twice = BASE.replace(
        "[home-assistant]",
        "[[charger]]\nname = \"carport\"\nprofile = \"heidelberg-energy-control\"\nlink = \"serial:///dev/surplusd-rs485\"\n[home-assistant]",
    );
    let found = lines(&read(&twice).findings);
    assert!(found.contains("20:8: error: charger 1 is named \"carport\" as well"), "{found}");
    assert!(found.contains("22:8: error: charger 1 answers to unit 1 on the same link"), "{found}");
    let none = BASE.replace("[[charger]]", "[[chargers]]");
    let found = lines(&read(&none).findings);
    assert!(found.contains("did you mean `charger`?") && found.lines().count() == 1, "{found}");
    let none = "version = 1\n[mqtt]\nurl = \"mqtts://b\"\n";
    assert!(lines(&read(none).findings).contains("there is no charger"));
}

#[test]
fn what_does_not_fit_together() {
    // A charger in a house with one phase cannot use three.
    let text = with_line(7, "phases = 1");
    let found = lines(&read(&text).findings);
    assert!(found.contains("14:1: error: a charger cannot use 3 phases where the house has 1"), "{found}");
    // Nor is there anything to switch.
    let switching = BASE
        .replace("heidelberg-energy-control", "amperfied-connect")
        .replace("unit = 1", "phase-switch = \"charger\"");
    let found = lines(&read(&switching.replace("main-fuse-a = 25", "phases = 1")).findings);
    assert!(found.contains("18:16: error: a house with one phase has nothing to switch"), "{found}");
    let loaded = read(&switching.replace("phase-switch =", "phases = 1\nphase-switch ="));
    assert!(lines(&loaded.findings).contains("19:16: warning: a car that does not use three phases"), "{loaded:?}");
    assert!(loaded.config.is_some());
    // A contact must not open under current after surplusd has died.
    let contact = |text: &str| text.replace("unit = 1", "phase-switch = { relay = \"pico\", contact = 1 }");
    let found = lines(&read(&contact(&with_line(13, "charger-current-a = 6"))).findings);
    assert!(found.contains("13:21: error: a contact would switch the phases under this current"), "{found}");
    let found = lines(&read(&contact(&with_line(13, "charger-watchdog-s = 36"))).findings);
    assert!(found.contains("error: with a contact for the phases this is at most 35"), "{found}");
    assert!(read(&contact(&with_line(13, "charger-watchdog-s = 35"))).config.is_some());
    let two = BASE.replace("heidelberg-energy-control", "amperfied-connect");
    let found = lines(&read(&contact(&two)).findings);
    assert!(found.contains("warning: this charger may switch its phases by itself"), "{found}");
    // Two chargers cannot share a relay for switching phases.
    let second = "[[charger]]\nname = \"b\"\nprofile = \"heidelberg-energy-control\"\nlink = \"tcp://b\"\n\
        phase-switch = { relay = \"pico\", contact = 2 }\n[home-assistant]";
    let found = lines(&read(&contact(BASE).replace("[home-assistant]", second)).findings);
    assert!(found.contains("error: charger 1 switches its phases with the relay \"pico\" as well"), "{found}");
    // The fail-safe current exceeds the charger's maximum.
    let text = with_line(13, "charger-current-a = 16").replace("unit = 1", "max-current-a = 10");
    let found = lines(&read(&text).findings);
    assert!(found.contains("13:21: error: 16.0 A is more than this charger's `max-current-a`"), "{found}");
    // A fixed current below the car's minimum.
    let text = with_line(13, "blind-current-slow-a = 8").replace("unit = 1", "fixed-current-a = 7\nmin-current-a = 8");
    let found = lines(&read(&text).findings);
    assert!(found.contains("18:19: error: 7.0 A is less than `min-current-a`, 8.0 A; raise it"), "{found}");
    // The fail-safe currents of two wallboxes must also fit the fuse.
    let second = "[[charger]]\nname = \"b\"\nprofile = \"amperfied-connect\"\nlink = \"tcp://b\"\n[home-assistant]";
    let text = with_line(13, "charger-current-a = 13").replace("[home-assistant]", second);
    let found = lines(&read(&text).findings);
    assert!(found.contains("13:21: error: when surplusd dies, 2 chargers draw 26.0 A"), "{found}");
    // Two chargers that cannot charge at the same time take turns.
    let text = with_line(7, "charger-limit-a = 10").replace("unit = 1", "max-current-a = 10");
    let text = text.replace("[home-assistant]", &second.replace("tcp://b\"", "tcp://b\"\nmax-current-a = 10"));
    let loaded = read(&text);
    assert!(lines(&loaded.findings).contains("warning: 2 chargers need 12.0 A at least"), "{:?}", loaded.findings);
    assert!(loaded.config.is_some());
    // Watchdog and poll interval, with the watchdog given in the file.
    let text = with_line(13, "charger-watchdog-s = 4").replace("unit = 1", "poll-s = 1.4");
    let found = lines(&read(&text).findings);
    assert!(found.contains("18:10: error: the charger is asked every 2 s and gives up after 4 s"), "{found}");
}

#[test]
fn warnings() {
    let cases: &[Case] = &[
        (3, "url = \"mqtt://broker.lan\"", "3:7", "without TLS anybody"),
        (3, "url = \"mqtts://b\"\nusername = \"u\"", "4:12", "a user name but no password"),
        (9, "priority-soc = 80\nbuffer-soc = 80", "9:16", "filled and emptied by turns"),
        (9, "priority-soc = 10", "9:16", "from 10 % to 20 % the battery neither"),
        (9, "present = false\nfloor-soc = 20", "10:13", "no effect without a home battery"),
        (13, "stale-after-s = 45", "13:17", "one lost message"),
        (17, "link = \"serial:///dev/ttyUSB0\"", "17:8", "may be another adapter"),
        (
            18,
            "max-current-a = 20",
            "18:17",
            "a heidelberg-energy-control gives 16.0 A at most, not 20.0 A; set it to 16;",
        ),
        (18, "min-current-a = 8", "18:17", "without data `slow` is limited to 6.0 A, which is less"),
    ];
    check(cases, Severity::Warning);
    let text = with_line(3, "url = \"mqtt://b\"\nca-file = \"ca.crt\"");
    let found = lines(&read(&text).findings);
    assert!(found.contains("4:11: warning: it is not used without TLS"), "{found}");
}

#[test]
fn logins() {
    const LOGIN: &str = "username = \"u\"\npassword-file = \"p\"";
    const CERTIFICATE: &str = "client-cert-file = \"c\"\nclient-key-file = \"k\"";
    let said = "test.toml:3:7: warning: without a login the broker lets anybody in, and whoever it lets in can switch the charger; add \
                `username` and `password-file`, or a client certificate\n";
    for (scheme, keys, anybody) in [
        ("mqtts", "", true),
        ("mqtt", "", true),
        ("mqtts", LOGIN, false),
        ("mqtt", LOGIN, false),
        ("mqtts", "username-file = \"u\"\npassword-file = \"p\"", false),
        ("mqtts", CERTIFICATE, false),
        // It is not used without TLS.
        ("mqtt", CERTIFICATE, true),
    ] {
        let text = with_line(3, &format!("url = \"{scheme}://b\"\n{keys}"));
        let loaded = parse(&text, "test.toml".as_ref(), &Environment::default(), &PROFILES, Files::Ignore);
        assert_eq!(lines(&loaded.findings).contains(said), anybody, "{text}{}", lines(&loaded.findings));
        assert!(loaded.config.is_some());
    }
}

#[test]
fn all_findings_at_once_in_the_order_of_the_text() {
    let text = with_line(9, "flor-soc = 20")
        .replace("min-share = 0.75", "min-share = 7")
        .replace("unit = 1", "unit = \"one\"")
        .replace("mqtts://", "mqtt://")
        .replace("state-every-s = 10", "state-every = 10");
    let places: Vec<usize> = read(&text).findings.iter().map(|finding| finding.line).collect();
    assert_eq!(places, [3, 9, 11, 18, 22]);
}

#[test]
fn a_broken_table_gives_one_finding() {
    let text = "version = 1\nmqtt = 5\ncharger = [1, 2]\nbattery = []\n";
    let found = lines(&read(text).findings);
    assert_eq!(found.lines().count(), 4, "{found}");
    assert!(found.contains("test.toml:2:8: error: `mqtt` must be a table, not integer;"), "{found}");
    assert!(found.contains("test.toml:4:11: error: `battery` must be a table, not list"), "{found}");
}

#[test]
fn the_number_of_findings_is_bounded() {
    use std::fmt::Write as _;
    let mut text = BASE.to_owned();
    for number in 0..500 {
        writeln!(text, "nonsense-{number} = 1").expect("a String takes all");
    }
    let loaded = read(&text);
    assert_eq!(loaded.findings.len(), 101);
    assert!(lines(&loaded.findings).contains("too many findings"));
}

#[test]
fn the_picture_underlines_the_place() {
    let text = with_line(9, "floor-soc = 120");
    let loaded = read(&text);
    let picture = loaded.findings[0].picture(&text, false);
    assert!(picture.contains("9 | floor-soc = 120"), "{picture}");
    assert!(picture.contains("^^^ use a number from 0 to 100"), "{picture}");
    assert!(loaded.findings[0].picture(&text, true).contains('\u{1b}'));
    assert_eq!(loaded.findings[0].path, "battery.floor-soc");
    assert_eq!(&text[loaded.findings[0].span.clone()], "120");
}
