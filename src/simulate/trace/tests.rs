use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::sim::weather::Weather;

fn parse(text: &str) -> Result<Trace, TraceError> {
    Trace::parse(text.as_bytes(), Path::new("day.csv"))
}

fn seconds(trace: &Trace) -> Vec<(u32, f32, f32)> {
    trace.seconds().map(|second| (second.from_s, second.solar_w, second.house_w)).collect()
}

#[test]
fn values_hold_between_rows_and_the_last_as_long_as_the_one_before() {
    let trace = parse("t_s,pv_w,house_w\n10,100,1\n12,200.5,2\n15,-3,4\n").unwrap();
    assert_eq!((trace.first_s(), trace.end_s()), (10, 18));
    let expected = [(10, 100.0, 1.0), (11, 100.0, 1.0), (12, 200.5, 2.0), (13, 200.5, 2.0), (14, 200.5, 2.0)];
    assert_eq!(seconds(&trace)[..5], expected);
    assert_eq!(seconds(&trace)[5..], [(15, -3.0, 4.0), (16, -3.0, 4.0), (17, -3.0, 4.0)]);
}

#[test]
fn a_day_ends_at_midnight() {
    for (text, end_s) in [
        ("t_s,pv_w,house_w\n0,0,0\n86340,0,0\n", 86_400),
        ("t_s,pv_w,house_w\n86280,0,0\n86340,0,0\n", 86_400),
        ("t_s,pv_w,house_w\n5,0,0\n", 86_400),
        ("t_s,pv_w,house_w\n86340,0,0\n86400,0,0\n", 86_460),
    ] {
        assert_eq!(parse(text).unwrap().end_s(), end_s, "{text}");
    }
}

#[test]
fn columns_are_found_by_name_and_others_ignored() {
    let trace = parse("x,load_w, pv_w ,t_s\n\"a,b\",7,8,0\nc,9,10,1.5\n").unwrap();
    assert_eq!(seconds(&trace)[..3], [(0, 8.0, 7.0), (1, 8.0, 7.0), (2, 10.0, 9.0)]);
    let both = parse("t_s,pv_w,load_w,house_w\n0,1,2,3\n").unwrap();
    assert!((both.seconds().next().unwrap().house_w - 3.0).abs() < 1e-6, "house_w is the better word");
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_do() {
    for (text, place, what) in [
        ("", "day.csv:1", "no column t_s"),
        ("t_s,pv_w\n0,1\n", "day.csv:1", "no column house_w"),
        ("t_s,pv_w,house_w\n", "day.csv:1", "no rows"),
        ("t_s,pv_w,house_w\n0,1,1\n0,1,1\n", "day.csv:3", "does not ascend"),
        ("t_s,pv_w,house_w\n5,1,1\n4,1,1\n", "day.csv:3", "does not ascend"),
        ("t_s,pv_w,house_w\n0,,1\n", "day.csv:2", "pv_w is \"\""),
        ("t_s,pv_w,house_w\n0,nan,1\n", "day.csv:2", "pv_w is \"nan\""),
        ("t_s,pv_w,house_w\n0,inf,1\n", "day.csv:2", "pv_w is \"inf\""),
        ("t_s,pv_w,house_w\n0,1,much\n", "day.csv:2", "the house's load is \"much\""),
        ("t_s,pv_w,house_w\n0,1,2e9\n", "day.csv:2", "the house's load"),
        ("t_s,pv_w,house_w\n-1,1,1\n", "day.csv:2", "t_s is \"-1\""),
        ("t_s,pv_w,house_w\n99999999999,1,1\n", "day.csv:2", "t_s is"),
        ("t_s,pv_w,house_w\n12:00,1,1\n", "day.csv:2", "t_s is \"12:00\""),
        ("t_s,pv_w,house_w\n0,1,1\n1,2\n", "day.csv:3", "2 fields"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(what) && error.contains("; "), "{text:?}: {error}");
    }
}

#[test]
fn random_bytes_do_not_panic() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..3_000 {
        let mut bytes = b"t_s,pv_w,house_w\n0,1,2\n".to_vec();
        for _ in 0..random.usize(1..6) {
            let place = random.usize(0..bytes.len());
            bytes[place] = random.u8(..);
        }
        let _ = Trace::parse(bytes.as_slice(), Path::new("x"));
    }
}

#[test]
fn a_zipped_file_is_known_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let text = "t_s,pv_w,house_w\n0,1,2\n60,3,4\n";
    let file = folder.path().join("zipped.csv");
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    zip.write_all(text.as_bytes()).unwrap();
    let bytes = zip.finish().unwrap();
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(Trace::read(&file).unwrap(), parse(text).unwrap());
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Trace::read(&file).unwrap_err().to_string().contains("complete"));
    assert!(Trace::read(&folder.path().join("none.csv")).unwrap_err().to_string().contains("none.csv"));
}

#[test]
fn rows_of_the_program_are_checked_too() {
    let row = |from_s| TraceRow { from_s, solar_w: 0.0, house_w: 0.0 };
    assert!(Trace::from_rows(Vec::new(), 10).is_err() && Trace::from_rows(vec![row(3), row(3)], 10).is_err());
    assert_eq!(Trace::from_rows(vec![row(3)], 0).unwrap().end_s(), 4);
    let day = Trace::from_day(&Day::generate(1, Weather::Clear));
    assert_eq!((day.first_s(), day.end_s(), day.seconds().count()), (0, 86_400, 86_400));
}
