use super::*;

const ID: ChargerId = ChargerId(1);

fn state(to: &str) -> Notice {
    Notice::State { from: "A1".to_owned(), to: to.to_owned() }
}

#[test]
fn a_state_that_toggles_all_day_is_some_lines_and_the_last_is_said() {
    let mut log = Log::default();
    let (mut written, mut left_out) = (0, 0);
    let mut newest = None;
    for second in 1..=86_400_u64 {
        let now = Tick(second * 1_000);
        let notice = state(if second % 2 == 0 { "C2" } else { "B2" });
        let entries: Vec<Entry> = log.take(ID, notice, now).into_iter().chain(log.poll(now)).collect();
        written += entries.len();
        left_out += entries.iter().map(|entry| entry.left_out).sum::<u64>();
        newest = entries.last().map(|entry| entry.notice.clone()).or(newest);
    }
    assert!((100..400).contains(&written), "{written}");
    let due = log.poll_timeout().expect("something waits");
    assert!(due <= Tick(86_400_000 + 300_000), "{due:?}");
    let last = log.poll(due).expect("there is room now");
    assert_eq!(last.notice, state("C2"), "how it is in the end");
    assert_eq!(left_out + last.left_out + u64::try_from(written).unwrap() + 1, 86_400, "none is lost from the count");
    assert_eq!((log.poll(Tick(999_000_000)), log.poll_timeout()), (None, None));
}

#[test]
fn one_subject_leaves_room_for_the_others_and_an_end_says_all_that_waits() {
    let mut log = Log::default();
    let now = Tick(1_000);
    for _ in 0..1_000 {
        log.take(ID, state("C2"), now);
    }
    let lapsed = Notice::Lapsed { safe: control::Milliamps(0), ordered: true };
    for (charger, notice) in [(ID, lapsed), (ChargerId(2), state("B2"))] {
        let entry = log.take(charger, notice.clone(), now);
        assert_eq!(entry, Some(Entry { charger, notice, left_out: 0 }));
    }
    let debug = Notice::SetpointProven { setpoint: control::Milliamps(6_000) };
    assert!((0..1_000).all(|_| log.take(ID, debug.clone(), now).is_some()), "who asks for details gets them all");
    assert_eq!(log.poll(now), None);
    assert_eq!(log.poll_last(), Some(Entry { charger: ID, notice: state("C2"), left_out: 979 }));
    assert_eq!(log.poll_last(), None);
}
