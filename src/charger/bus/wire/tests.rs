//! What a line has learnt, and forgets.

use super::*;

const REPLY: Millis = Millis(500);
const QUIET: Millis = Millis(50);

#[test]
fn the_longest_delay_of_the_last_ten_minutes_is_listened_for() {
    let mut learnt = Learnt::default();
    let late = |learnt: &Learnt, at_s: u64| learnt.late(REPLY, QUIET, Tick(at_s * 1_000));
    assert_eq!(late(&learnt, 0), QUIET);
    learnt.came_late(Millis(1_500), Tick(0));
    learnt.came_late(Millis(900), Tick(60_000));
    assert_eq!(late(&learnt, 599), Millis(1_050), "the longer one counts");
    assert_eq!(late(&learnt, 600), Millis(450), "and then what came after it");
    assert_eq!(late(&learnt, 660), QUIET);
    // However long it was, no wait is longer than this.
    learnt.came_late(Millis(9_000), Tick(700_000));
    assert_eq!(late(&learnt, 700), LATE_MAX);
}

#[test]
fn late_answers_without_end_take_no_room() {
    let mut learnt = Learnt::default();
    for at in 0..1_000 {
        learnt.came_late(Millis(600 + at), Tick(at));
    }
    assert_eq!(learnt.delays.len(), LATE_KEPT);
    assert_eq!(learnt.late(REPLY, QUIET, Tick(1_000)), Millis(600 + 999 + 50 - 500));
}
