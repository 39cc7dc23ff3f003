use super::*;

const IDEAL: MetersOptions =
    MetersOptions { period_s: 30, realistic: false, delay_s: 0, skew_s: 0, refresh_delay_s: None };

/// Flows whose values equal their second.
fn flows(t_s: u32) -> Flows {
    let value = f64::from(t_s);
    Flows {
        solar_w: 1_000.0 + value,
        house_w: 300.0,
        car_w: value,
        battery_w: -value,
        grid_w: 0.4,
        soc_pct: Some(49.6),
    }
}

/// Everything that arrives in this many seconds, with the second of arrival.
fn watch(meters: &mut Meters, until_s: u32) -> Vec<(u32, Burst)> {
    let mut seen = Vec::new();
    for t_s in 0..until_s {
        meters.pass(t_s, &flows(t_s));
        while let Some(burst) = meters.arrived(t_s) {
            seen.push((t_s, burst));
        }
    }
    seen
}

#[test]
fn ideal_meters_speak_together_in_whole_watts() {
    let seen = watch(&mut Meters::new(IDEAL, true, 1, 0), 60);
    let burst = |t: i32| [Some(0), Some(1_000 + t), Some(-t), Some(300 + t), Some(50)];
    assert_eq!(seen, [(23, burst(23)), (53, burst(53))]);
    let live = watch(&mut Meters::new(MetersOptions { period_s: 0, ..IDEAL }, true, 1, 0), 60);
    assert_eq!(live.len(), 60);
    let without = watch(&mut Meters::new(IDEAL, false, 1, 0), 60);
    assert_eq!(without[0], (23, [Some(0), Some(1_023), None, Some(323), None]));
}

#[test]
fn late_meters_tell_of_then_and_skewed_ones_of_several_moments() {
    let seen = watch(&mut Meters::new(MetersOptions { delay_s: 20, ..IDEAL }, true, 1, 0), 80);
    assert_eq!(
        seen.iter().map(|(at, burst)| (*at, burst[1])).collect::<Vec<_>>(),
        [(43, Some(1_023)), (73, Some(1_053))]
    );
    let skewed = MetersOptions { period_s: 10, skew_s: 5, ..IDEAL };
    let mut differ = false;
    for seed in 0..20 {
        let seen = watch(&mut Meters::new(skewed, true, seed, 0), 60);
        let ages = |at: u32, burst: &Burst| {
            (at + 1_000 - burst[1].unwrap().unsigned_abs(), at - burst[2].unwrap().unsigned_abs())
        };
        let (at, first) = &seen[1];
        assert!(ages(*at, first).0 <= 5 && ages(*at, first).1 <= 5, "seed {seed}");
        assert!(
            seen[1..].iter().all(|(at, burst)| ages(*at, burst) == ages(seen[1].0, &seen[1].1)),
            "it stays as it is"
        );
        differ |= ages(*at, first).0 != ages(*at, first).1;
    }
    assert!(differ, "in no seed the meters differ");
}

#[test]
fn requests_are_answered_once_each() {
    let mut meters = Meters::new(MetersOptions { refresh_delay_s: Some(2), ..IDEAL }, true, 1, 0);
    let mut seen = Vec::new();
    for t_s in 0..22 {
        meters.pass(t_s, &flows(t_s));
        while meters.arrived(t_s).is_some() {
            seen.push(t_s);
        }
        if matches!(t_s, 5 | 6 | 10) {
            meters.refresh(t_s);
        }
    }
    assert_eq!(seen, [7, 12], "the second of two requests is answered along with the first");
    let mut deaf = Meters::new(IDEAL, true, 1, 0);
    deaf.refresh(0);
    assert!(watch(&mut deaf, 20).is_empty());
}

#[test]
fn realistic_meters_are_late_off_noisy_and_silent_without_news() {
    let mut meters = Meters::new(MetersOptions { realistic: true, ..IDEAL }, true, 3, 0);
    let steady = Flows { solar_w: 8_000.0, ..flows(0) };
    let (mut late, mut solar, mut soc) = (Vec::new(), Vec::new(), 0);
    for t_s in 0..30 * 600 {
        meters.pass(t_s, &steady);
        while let Some(burst) = meters.arrived(t_s) {
            late.push((t_s + 7) % 30);
            solar.extend(burst[1]);
            soc += u32::from(burst[4].is_some());
        }
    }
    assert!(late.iter().all(|late| (1..=5).contains(late)) && (1..=5).all(|late_s| late.contains(&late_s)));
    let mean = solar.iter().map(|watts| f64::from(*watts)).sum::<f64>() / 600.0;
    let spread = (solar.iter().map(|watts| (f64::from(*watts) - mean).powi(2)).sum::<f64>() / 600.0).sqrt();
    assert!((7_960.0..=8_040.0).contains(&(mean * 600.0 / f64::from(u32::try_from(solar.len()).unwrap()))), "{mean}");
    assert!((15.0..400.0).contains(&spread) && soc == 1, "{spread}, charge published {soc} times");
    assert!((0..100).all(|_| (1..=2).contains(&meters.charger_age_s())));
}
