//! Files that a user brings along: traces, settings of `simulate`, charger profiles.
#![expect(clippy::missing_panics_doc, reason = "a target reports by a panic")]

use std::io::Read;
use std::path::Path;

use control::Milliamps;
use flate2::Compression;
use flate2::read::GzEncoder;

use super::pieces::assert_showable;
use crate::charger::codec::Operation;
use crate::charger::profile::{Profile, Register};
use crate::simulate::{Setup, SetupError, Trace, TraceError, TraceRow};

const NAME: &str = "fuzz";
/// Longest message about a line: forty characters of it, escaped, with the words around them. A parser's own message may quote a key.
const TEXT_MAX: usize = 1_000;

/// A trace: CSV, plain or gzipped.
pub fn trace(bytes: &[u8]) {
    let file = Path::new(NAME);
    let read = Trace::parse_packed(bytes, file);
    let trace = match &read {
        Ok(trace) => trace,
        Err(error) => return assert_trace_error(error),
    };
    trace.doubts().iter().for_each(|doubt| assert_showable(doubt, TEXT_MAX));
    assert!(trace.first_s() < trace.end_s());
    let seconds: Vec<TraceRow> = trace.seconds().take(1_000).collect();
    assert!(seconds.iter().zip(seconds.iter().skip(1)).all(|(one, next)| one.from_s + 1 == next.from_s));
    // The same values, written anew and packed, are the same trace.
    let row = |row: &TraceRow| format!("{},{},{}\n", row.from_s, row.solar_w, row.house_w);
    let text: String = seconds.iter().map(row).collect();
    let mut packed = Vec::new();
    let written =
        GzEncoder::new(format!("t_s,pv_w,house_w\n{text}").as_bytes(), Compression::fast()).read_to_end(&mut packed);
    assert!(written.is_ok());
    let again = Trace::parse_packed(packed.as_slice(), file).map(|again| again.seconds().take(seconds.len()).collect());
    assert_eq!(again.ok(), Some(seconds));
}

fn assert_trace_error(error: &TraceError) {
    match error {
        TraceError::Line { line, .. } => assert!(*line >= 1, "{error}"),
        TraceError::Unreadable { .. } | TraceError::Rows => {}
    }
    assert!(error.to_string().len() <= TEXT_MAX, "{error}");
}

/// Settings of `simulate`.
pub fn simulate_setup(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Setup::parse(text, Path::new(NAME)) {
        Ok(setup) => {
            let Setup { battery, car, meters, .. } = setup;
            assert!(battery.is_none_or(|battery| (0.0..=1.0).contains(&battery.soc)));
            assert!(matches!(car.phases, 1 | 3) && (6.0..=63.0).contains(&car.max_amps));
            assert!(car.wants_wh.is_none_or(|wants_wh| (0.0..=1e6).contains(&wants_wh)));
            assert!(meters.period_s <= 3_600);
            let later = setup.car_from(u32::MAX);
            assert!(later.arrives_s.is_none_or(|at_s| at_s == 0));
        }
        Err(SetupError::Line { line, what, remedy, .. }) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}: {what}; {remedy}");
        }
        Err(error @ (SetupError::Unreadable { .. } | SetupError::Reference(_))) => panic!("{error}"),
    }
}

/// A register map.
pub fn charger_profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let profile = match Profile::parse(NAME, text) {
        Ok(profile) => profile,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (least, most, step) = profile.current_range();
    assert!(Milliamps::PILOT_MIN <= least && least <= most && step > Milliamps::ZERO);
    let currents = [0, 1, 5_999, 6_000, 6_001, 10_000, 16_000, 32_000, u32::MAX].map(Milliamps);
    for (current, box_max) in currents.into_iter().flat_map(|current| currents.map(|box_max| (current, box_max))) {
        let raw = profile.encode_current(current, box_max);
        let told = profile.decode_current(raw);
        assert!(raw == profile.set_current.off || (least..=most.min(current).min(box_max)).contains(&told), "{told:?}");
    }
    for layout in profile.registers.iter().map(|register| register.since) {
        let (start, count) = profile.poll_block(layout);
        assert!((1..=125).contains(&count), "{count} registers");
        let answer: Vec<u16> = (0..count).map(|word| word.wrapping_mul(0x9E37)).collect();
        for register in &profile.registers {
            if let Some(words) = register.words(start, &answer) {
                assert_eq!(words.len(), usize::from(register.count()));
                register.value(words);
                assert_showable(&Register::text(words), 2 * words.len());
            }
        }
    }
    for register in &profile.registers {
        let (Operation::ReadInput { count, .. } | Operation::ReadHolding { count, .. }) = register.read() else {
            panic!("{register:?} is written to be read")
        };
        assert!((1..=125).contains(&count), "{register:?}");
    }
}
