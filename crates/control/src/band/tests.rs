use super::*;

#[test]
fn calm_weather_gives_the_plain_band() {
    let trend = Trend::new(Watts(3_000), Tick(1));
    let lines = Band::new(Permille(750), WattHours(100), Watts(4_140)).lines(&trend, Watts(0));
    let expected = Thresholds {
        before_start: Watts(3_000),
        start_at: Watts(3_105),
        before_stop: Watts(3_000),
        stop_below: Watts(3_105 - 25 - 90),
        pull: (140, Watts(0)),
    };
    assert_eq!(lines, expected);
}

#[test]
fn what_others_claimed_is_not_surplus() {
    let trend = Trend::new(Watts(9_000), Tick(1));
    let lines = Band::new(Permille(750), WattHours(100), Watts(4_140)).lines(&trend, Watts(5_000));
    assert_eq!((lines.before_start, lines.before_stop), (Watts(4_000), Watts(4_000)));
}

#[test]
fn volatility_widens_the_band_and_stops_at_the_cap() {
    let mut trend = Trend::new(Watts(0), Tick(0));
    for step in 1..200_u64 {
        trend.sample(Watts(if step % 2 == 0 { 0 } else { 9_000 }), Tick(step * 30_000));
    }
    let lines = Band::new(Permille(750), WattHours(100), Watts(4_140)).lines(&trend, Watts(0));
    assert_eq!(lines.start_at, Watts(3_105 + 1_400));
    assert_eq!(lines.stop_below, Watts(3_105 - 1_400));
}

#[test]
fn a_pause_of_days_does_not_overflow() {
    let mut trend = Trend::new(Watts(-50_000), Tick(0));
    trend.sample(Watts(50_000), Tick(u64::MAX));
    let lines = Band::new(Permille(500), WattHours(2_000), Watts(4_140)).lines(&trend, Watts(0));
    assert!(lines.start_at > lines.stop_below);
}

#[test]
fn start_lies_above_stop_for_every_setting() {
    for sigma in (500..=1_000).step_by(50) {
        for cost in [0, 20, 100, 300, 2_000] {
            for power in [1_380, 2_760, 4_140] {
                for swing in [0, 500, 5_000, 20_000] {
                    let mut trend = Trend::new(Watts(0), Tick(0));
                    for step in 1..100_u64 {
                        trend.sample(Watts(if step % 2 == 0 { 0 } else { swing }), Tick(step * 30_000));
                    }
                    let lines = Band::new(Permille(sigma), WattHours(cost), Watts(power)).lines(&trend, Watts(0));
                    assert!(lines.start_at > lines.stop_below, "{sigma} {cost} {power} {swing}: {lines:?}");
                }
            }
        }
    }
}
