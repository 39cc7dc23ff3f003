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
fn values_hold_between_rows_and_the_last_as_long_as_the_shortest() {
    let trace = parse("t_s,pv_w,house_w\n10,100,1\n12,200.5,2\n15,-3,4\n").unwrap();
    assert_eq!((trace.first_s(), trace.end_s()), (10, 17));
    let expected = [(10, 100.0, 1.0), (11, 100.0, 1.0), (12, 200.5, 2.0), (13, 200.5, 2.0), (14, 200.5, 2.0)];
    assert_eq!(seconds(&trace)[..5], expected);
    assert_eq!(seconds(&trace)[5..], [(15, -3.0, 4.0), (16, -3.0, 4.0)]);
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
        (
            "t_s,pv_w,house_w\n12:00,1,1\n",
            "day.csv:2",
            "t_s is \"12:00\"; give seconds from midnight of the first day instead",
        ),
        ("t_s,pv_w,house_w\n2026-06-01T12:00:00Z,1,1\n", "day.csv:2", "T12:00:00Z\"; give seconds from midnight"),
        ("t_s,pv_w,house_w\n0.2,1,1\n0.2,1,1\n", "day.csv:3", "does not ascend"),
        ("t_s,pv_w,house_w\n0.6,1,1\n0.2,1,1\n", "day.csv:3", "does not ascend"),
        ("t_s,pv_w,house_w\n316223999.5,1,1\n", "day.csv:2", "t_s is"),
        ("t_s;pv_w;house_w\n0;1.000,5;1\n", "day.csv:2", "pv_w is \"1.000,5\""),
        ("t_s;pv_w;house_w\n0;1;\n", "day.csv:2", "the house's load is \"\""),
        ("t_s,pv_w,house_w\n0,1,\u{1b}[2J\n", "day.csv:2", "\"\\u{1b}[2J\""),
        ("t_s,pv_w,house_w\n0,1,1\n1,2\n", "day.csv:3", "2 fields"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(what) && error.contains("; "), "{text:?}: {error}");
    }
}

/// A logger of ten rows per second, or of 0.7: the simulation uses the last row up to each whole second.
#[test]
fn of_several_rows_within_a_second_the_last_counts() {
    let trace = parse("t_s,pv_w,house_w\n0.2,100,1\n0.6,200,2\n1.0,300,3\n1.4,400,4\n3.7,500,5\n").unwrap();
    assert_eq!((trace.first_s(), trace.end_s()), (1, 5));
    assert_eq!(seconds(&trace), [(1, 300.0, 3.0), (2, 400.0, 4.0), (3, 400.0, 4.0), (4, 500.0, 5.0)]);
    let trace = parse("t_s,pv_w,house_w\n0.2,100,1\n0.6,200,2\n").unwrap();
    assert_eq!(seconds(&trace)[0], (1, 200.0, 2.0));
}

/// Formats that spreadsheets and loggers produce.
#[test]
fn other_spellings_are_read() {
    let plain = parse("t_s,pv_w,house_w\n0,100.5,1\n86460,200,2\n").unwrap();
    for text in [
        "\u{feff}t_s,pv_w,house_w\n0,100.5,1\n86460,200,2\n",
        "t_s,pv_w,house_w\r\n0,100.5,1\r\n86460,200,2\r\n",
        "\"t_s\",\"pv_w\",\"house_w\"\n\"0\",\"100.5\",\"1\"\n\"86460\",\"200\",\"2\"",
        "\u{feff}t_s;pv_w;house_w\r\n0;100,5;1\r\n86460;200;2\r\n",
        "t_s\tpv_w\tload_w\n0\t1.005e2\t1\n86460\t200\t2\n\n",
        "note,T_S, PV_W ,Load_W\n\"one, two\nthree\",0,100.5,1\n,86460,200,2\n",
    ] {
        assert_eq!(parse(text).unwrap(), plain, "{text:?}");
    }
    let wide: Vec<u8> = "t_s,pv_w,house_w\n0,1,1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = Trace::parse([&[0xff, 0xfe], wide.as_slice()].concat().as_slice(), Path::new("day.csv")).unwrap_err();
    assert_eq!(error.to_string(), "day.csv:1: this is text in UTF-16; save it as UTF-8");
}

#[test]
fn values_that_are_hardly_watts_are_doubted() {
    let doubts = |rows: &str| parse(&format!("t_s,pv_w,house_w\n{rows}")).unwrap().doubts();
    assert_eq!(doubts("0,0,300\n60,5000,400\n"), Vec::<String>::new());
    assert_eq!(doubts("0,0,300\n60,-3,400\n"), Vec::<String>::new(), "a night");
    let kilowatts = doubts("0,0,0.3\n60,12,0.4\n");
    assert_eq!(kilowatts[0], "pv_w never exceeds 12: is the trace in kW? It is read as watts");
    assert_eq!(kilowatts.len(), 2);
    assert_eq!(doubts("0,0,300\n60,7.5,400\n").len(), 1);
    assert_eq!(
        doubts("0,-20,300\n60,-5000,400\n"),
        ["pv_w never exceeds -20 and falls to -5000: has it the other sign?"]
    );
    assert_eq!(doubts("0,900000,300\n"), ["pv_w reaches 900000: more than a house has; is it in milliwatts?"]);
}

/// An input without end, which a small compressed file can produce.
struct Endless {
    begin: &'static [u8],
    then: fn(u64) -> Vec<u8>,
    rest: Vec<u8>,
    count: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.begin.is_empty() && self.rest.is_empty() {
            self.rest = (self.then)(self.count);
            self.count += 1;
        }
        if self.begin.is_empty() {
            let length = self.rest.as_slice().read(buffer)?;
            self.rest.drain(..length);
            return Ok(length);
        }
        self.begin.read(buffer)
    }
}

#[test]
fn what_does_not_end_is_refused() {
    let refused = |begin: &'static str, then: fn(u64) -> Vec<u8>| {
        let endless = Endless { begin: begin.as_bytes(), then, rest: Vec::new(), count: 0 };
        Trace::parse_at_most(endless, Path::new("x"), 20_000).unwrap_err().to_string()
    };
    let long = "a row is longer than 1 MiB, or a quote is never closed; is this the file you meant?";
    assert!(refused("", |_| vec![b'1'; 50_000]).ends_with(long));
    assert!(refused("t_s,pv_w,house_w\n0,1,1\n", |_| vec![b'1'; 50_000]).ends_with(long));
    assert!(refused("t_s,pv_w,house_w\n0,1,\"", |_| b"1\n".repeat(25_000)).ends_with(long));
    let rows = refused("t_s,pv_w,house_w\n", |count| {
        let row = |place: u64| format!("{},1,1\n", count * 5_000 + place);
        (0..5_000).map(row).collect::<String>().into_bytes()
    });
    assert!(rows.contains("there are more than 20000 rows; split the file"), "{rows}");
}

#[test]
fn only_a_regular_file_is_read() {
    for file in ["/dev/zero", "/"] {
        let error = Trace::read(Path::new(file)).unwrap_err().to_string();
        assert!(error.contains("it is not a regular file; name a CSV file"), "{error}");
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
