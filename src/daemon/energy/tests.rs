//! Wrong counters and correct ones.

use proptest::prelude::*;

use super::*;

/// Upper bound on the power of a 16 A wallbox: three phases at 253 V.
const MOST: Watts = Watts(12_144);

/// Reads the counter every second from second `from_s` on.
fn read(meter: &mut EnergyMeter, from_s: u64, readings: &[i64]) {
    for (second, raw) in (from_s..).zip(readings) {
        meter.read(WattHours(*raw), MOST, Tick(second * 1_000));
    }
}

/// The second after which [`begun`] has taken its readings.
const BEGUN_S: u64 = 62;

/// A meter that begins at `raw`; the next reading is due at second [`BEGUN_S`].
fn begun(raw: i64) -> EnergyMeter {
    let mut meter = EnergyMeter::new();
    for second in 1..BEGUN_S {
        assert_eq!(meter.total(), None, "second {second}");
        meter.read(WattHours(raw), MOST, Tick(second * 1_000));
    }
    assert_eq!(meter.total(), Some(WattHours(raw)));
    meter
}

#[test]
fn a_counter_that_goes_away_for_seconds_counts_nothing_twice() {
    let mut meter = begun(1_234_620);
    read(&mut meter, BEGUN_S, &[0, 0, 0, 1_234_625, 1_234_626]);
    assert_eq!(meter.total(), Some(WattHours(1_234_626)));
}

#[test]
fn a_counter_that_loses_its_high_word_counts_nothing_twice() {
    let whole = 0x0012_fffe_i64;
    let mut meter = begun(whole);
    read(&mut meter, BEGUN_S, &[0xffff, 0x0013_0000 & 0xffff, 1, 0x0013_0001, 0x0013_0002]);
    assert_eq!(meter.total(), Some(WattHours(0x0013_0002)));
}

#[test]
fn a_counter_that_goes_away_for_long_and_comes_back_advances_by_what_was_possible() {
    let mut meter = begun(1_234_620);
    read(&mut meter, BEGUN_S, &vec![0; 3_600]);
    read(&mut meter, BEGUN_S + 3_600, &vec![1_234_700; 3_600]);
    let total = meter.total().unwrap().0;
    assert!((1_234_620..=1_234_700).contains(&total), "{total}");
}

#[test]
fn another_wallbox_is_counted_from_where_it_was_found() {
    let mut meter = begun(5_000);
    let mut replaced = Vec::new();
    for second in 0..120_u64 {
        let raw = 9_000_000 + i64::try_from(second).unwrap();
        replaced.extend(meter.read(WattHours(raw), MOST, Tick((BEGUN_S + second) * 1_000)));
    }
    assert_eq!(replaced, [Replaced { from: WattHours(5_000), to: WattHours(9_000_060) }]);
    assert_eq!(meter.total(), Some(WattHours(5_119)));
}

#[test]
fn a_counter_wraps() {
    let end = (1 << 32) - 2;
    let mut meter = begun(end);
    read(&mut meter, BEGUN_S, &[end + 1, 0, 1]);
    assert_eq!(meter.total(), Some(WattHours(end + 3)));
}

/// Half a counter, none, or the value of an unconnected register: none of it is published, and counting begins with the readings after it.
#[test]
fn what_is_false_at_the_very_beginning_is_not_taken() {
    for (lie, seconds) in [(77, 1), (0, 4), (0xffff_ffff, 4), (0xffff_ffff, 600), (0, 50)] {
        let mut meter = EnergyMeter::new();
        read(&mut meter, 1, &vec![lie; seconds]);
        assert_eq!(meter.total(), None, "{lie} for {seconds} s");
        let truth: Vec<i64> = (0..61).map(|second| 1_234_600 + second).collect();
        read(&mut meter, 1 + seconds as u64, &truth);
        assert_eq!(meter.total(), Some(WattHours(1_234_660)), "{lie} for {seconds} s");
    }
}

#[test]
fn a_counter_that_says_nothing_counts_nothing() {
    let mut meter = begun(0xffff_fff0);
    read(&mut meter, BEGUN_S, &vec![0xffff_ffff; 100]);
    assert_eq!(meter.total(), Some(WattHours(0xffff_fff0)));
}

#[test]
fn a_restart_counts_what_was_possible_meanwhile() {
    let hour = Millis::from_secs(3_600);
    let mut meter = EnergyMeter::resume(WattHours(70), Some(WattHours(1_000)), hour);
    assert_eq!(meter.total(), Some(WattHours(70)));
    read(&mut meter, 1, &[12_000]);
    assert_eq!(meter.total(), Some(WattHours(11_070)));
    let mut meter = EnergyMeter::resume(WattHours(70), Some(WattHours(1_000)), hour);
    read(&mut meter, 1, &[14_000; 100]);
    assert_eq!(meter.total(), Some(WattHours(70)), "more than an hour can give");
}

#[test]
fn nonsense_from_the_stored_state_or_the_wallbox_does_no_harm() {
    let mut meter = EnergyMeter::resume(WattHours(-5), Some(WattHours(i64::MIN)), Millis(u64::MAX));
    for (raw, tick) in [(i64::MIN, 0), (i64::MAX, 0), (-1, 0), (0, 0), (3, 1), (3, u64::MAX)] {
        meter.read(WattHours(raw), Watts(i32::MAX), Tick(tick));
    }
    assert_eq!(meter.total(), Some(WattHours(3)));
}

#[derive(Debug, Clone)]
enum Step {
    /// Time passes while the car draws `percent` of the possible power.
    Charge { ms: u64, percent: i64 },
    /// The counter shows this value for the next readings.
    Lie { raw: i64, readings: u8 },
    /// The counter continues from a different value.
    Jump(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (200..20_000_u64, 0..=100_i64).prop_map(|(ms, percent)| Step::Charge { ms, percent }),
        1 => (600_000..8_000_000_u64, 0..=100_i64).prop_map(|(ms, percent)| Step::Charge { ms, percent }),
        2 => (prop_oneof![Just(0), -10..100_000_i64, 0..5_000_000_000_i64], 1..30_u8).prop_map(|(raw, readings)| Step::Lie { raw, readings }),
        1 => (0..5_000_000_000_i64).prop_map(Step::Jump),
    ]
}

/// A wallbox, its true counter, and the meter that reads it.
struct Bench {
    meter: EnergyMeter,
    now: u64,
    truth_wms: i64,
    lie: Option<(i64, u8)>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { meter: EnergyMeter::new(), now: 1, truth_wms: 1_000 * WMS_PER_WH, lie: None };
        bench.step(0, 0);
        bench.step(60_000, 0);
        bench
    }

    /// Returns by how much the meter advanced.
    fn step(&mut self, ms: u64, watts: i64) -> i64 {
        self.now += ms;
        self.truth_wms += watts * i64::try_from(ms).unwrap();
        let raw = match &mut self.lie {
            Some((raw, left)) if *left > 0 => {
                *left -= 1;
                *raw
            }
            _ => self.truth_wms / WMS_PER_WH % WRAP,
        };
        let before = self.total();
        self.meter.read(WattHours(raw), MOST, Tick(self.now));
        self.total() - before
    }

    fn total(&self) -> i64 {
        self.meter.total().map_or(0, |total| total.0)
    }
}

proptest! {
    #[test]
    fn it_never_goes_back_and_never_counts_more_than_was_possible(steps in prop::collection::vec(step(), 1..150)) {
        let mut bench = Bench::new();
        let (began, begun) = (1, bench.total());
        for step in steps {
            match step {
                Step::Charge { ms, percent } => {
                    let advance = bench.step(ms, i64::from(MOST.0) * percent / 100);
                    prop_assert!(advance >= 0);
                    let most = i64::from(MOST.0) * i64::try_from(bench.now - began).unwrap() / WMS_PER_WH + 1;
                    prop_assert!(bench.total() - begun <= most, "{} of {most} Wh", bench.total() - begun);
                }
                Step::Lie { raw, readings } => bench.lie = Some((raw, readings)),
                Step::Jump(raw) => bench.truth_wms = raw * WMS_PER_WH,
            }
        }
    }

    #[test]
    fn it_is_the_truth_where_the_counter_is(steps in prop::collection::vec((200..900_000_u64, 0..=100_i64), 1..150), lump in 1..200_i64) {
        let mut bench = Bench::new();
        for (ms, percent) in &steps {
            bench.step(*ms, i64::from(MOST.0) * percent / 100);
        }
        // If a reading seems too early because of rounding, the next one makes up for it.
        bench.step(60_000, 0);
        prop_assert_eq!(bench.total(), bench.truth_wms / WMS_PER_WH);

        // A counter that moves in steps of one minute's energy is late, but correct.
        let mut meter = EnergyMeter::new();
        let mut truth = 0;
        for second in 1..2_000_u64 {
            truth += i64::from(MOST.0) / 3;
            let raw = truth * 1_000 / WMS_PER_WH / lump * lump;
            meter.read(WattHours(raw), MOST, Tick(second * 1_000));
        }
        prop_assert_eq!(meter.total(), Some(WattHours(truth * 1_000 / WMS_PER_WH / lump * lump)));
    }

    #[test]
    fn a_lie_of_less_than_a_minute_costs_nothing(raw in prop_oneof![Just(0), 0..3_000_i64, 0..5_000_000_000_i64], seconds in 1..55_u8, percent in 0..=100_i64) {
        let mut bench = Bench::new();
        let watts = i64::from(MOST.0) * percent / 100;
        for _ in 0..100 {
            bench.step(1_000, watts);
        }
        let before = bench.total();
        // A false value that the base explains looks like a true one; the next true one is then a step back.
        prop_assume!(!(before..before + 400).contains(&raw));
        bench.lie = Some((raw, seconds));
        for _ in 0..200 {
            bench.step(1_000, watts);
        }
        let truth = bench.truth_wms / WMS_PER_WH;
        prop_assert!((truth - 1..=truth).contains(&bench.total()), "{} is not {truth}", bench.total());
    }
}
