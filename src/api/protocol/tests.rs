use serde_json::json;

use super::*;

#[test]
fn what_is_documented_is_read() {
    assert_eq!(Call::parse(br#"{"v":1,"do":"status"}"#), Ok(Call::Status));
    assert_eq!(Call::parse(br#"{"v":1,"do":"watch"}"#), Ok(Call::Watch));
    let set = |charger: Option<&str>| Call::Set {
        key: "mode".to_owned(),
        value: "fast".to_owned(),
        charger: charger.map(str::to_owned),
    };
    let line = br#"{"v":1,"do":"set","key":"mode","value":"fast","charger":"carport"}"#;
    assert_eq!(Call::parse(line), Ok(set(Some("carport"))));
    assert_eq!(Call::parse(br#"{"v":1,"do":"set","key":"mode","value":"fast"}"#), Ok(set(None)));
    for call in [Call::Status, Call::Watch, set(None), set(Some("a\nb"))] {
        let line = call.line();
        assert_eq!((Call::parse(line.as_bytes()), line.lines().count()), (Ok(call), 1));
    }
}

#[test]
fn anything_else_gets_an_error_that_says_what_to_do() {
    for (line, code) in [
        (&b""[..], "malformed"),
        (b"status", "malformed"),
        (b"[1]", "malformed"),
        (b"\xff\xfe", "malformed"),
        (br#"{"do":"status"}"#, "malformed"),
        (br#"{"v":1}"#, "malformed"),
        (br#"{"v":1,"do":"dance"}"#, "malformed"),
        (br#"{"v":1,"do":"set","key":"mode"}"#, "malformed"),
        (br#"{"v":1,"do":"set","key":"mode","value":7}"#, "malformed"),
        (br#"{"v":2,"do":"status"}"#, "version"),
        (br#"{"v":"1","do":"status"}"#, "version"),
    ] {
        let bad = Call::parse(line).unwrap_err();
        assert_eq!(bad.code(), code, "{}", String::from_utf8_lossy(line));
        let Some(Reply::Refused { text, .. }) = Reply::parse(&bad_call_line(&bad)) else { panic!("{bad}") };
        assert!(text.contains("send"), "{text}");
    }
}

#[test]
fn answers_are_read_as_they_are_written() {
    let document = json!({ "version": 1 });
    assert_eq!(Reply::parse(&status_line(&document, 3)), Some(Reply::Status { document, age_s: 3 }));
    assert_eq!(Reply::parse(&answer_line(&Ok("done".to_owned()))), Some(Reply::Done("done".to_owned())));
    let Some(Reply::Refused { code, text }) = Reply::parse(&answer_line(&Err(Refusal::Busy))) else { panic!() };
    assert_eq!((code.as_str(), text), ("busy", Refusal::Busy.to_string()));
    assert!(!Reply::is_wrong("busy") && Reply::is_wrong("unknown-mode"));
    for line in ["", "{}", r#"{"v":2,"done":"x"}"#, r#"{"v":1}"#, r#"{"v":1,"status":{}}"#] {
        assert_eq!(Reply::parse(line), None, "{line}");
    }
}
