use super::*;
use crate::sim::frames::seal;

const CAR: CarSignal = CarSignal { plugged: true, asks: true, amps: [0.0; 3] };
const NO_CAR: CarSignal = CarSignal { plugged: false, asks: false, amps: [0.0; 3] };

fn options() -> WallboxOptions {
    WallboxOptions { reply_delay_ms: 0, line_time: false, ..WallboxOptions::default() }
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The wallbox's reply to a frame sent at `now_ms` after silence.
fn ask(wallbox: &mut Wallbox, now_ms: u64, frame: &[u8]) -> Option<Vec<u8>> {
    wallbox.bytes(now_ms, frame);
    wallbox.poll_reply(now_ms)
}

fn read(wallbox: &mut Wallbox, now_ms: u64, function: u8, start: u16, count: u16) -> Result<Vec<u16>, u8> {
    let [a, b] = start.to_be_bytes();
    let [c, d] = count.to_be_bytes();
    let reply = ask(wallbox, now_ms, &seal(vec![1, function, a, b, c, d])).expect("an answer");
    if reply[1] & 0x80 != 0 {
        return Err(reply[2]);
    }
    Ok(reply[3..reply.len() - 2].as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
}

fn write(wallbox: &mut Wallbox, now_ms: u64, register: u16, value: u16) -> Result<(), u8> {
    let [a, b] = register.to_be_bytes();
    let [c, d] = value.to_be_bytes();
    let frame = seal(vec![1, 6, a, b, c, d]);
    let reply = ask(wallbox, now_ms, &frame).expect("an answer");
    if reply[1] & 0x80 != 0 {
        return Err(reply[2]);
    }
    assert_eq!(reply, frame);
    Ok(())
}

/// Golden frames captured from real wallboxes (units 1 and 2), and computed ones.
#[test]
fn golden_frames_byte_for_byte() {
    let layout = Layout::V1_0_7;
    let mut one =
        Wallbox::new(WallboxOptions { layout, voltages: [239, 241, 240], installed_vah: 51_530, ..options() });
    let mut two = Wallbox::new(WallboxOptions { layout, unit: 2, installed_vah: 3_268_073, ..options() });
    let dialogue = [
        ("01 03 01 01 00 01 d4 36", "01 03 02 3a 98 ab 4e"),
        ("02 10 01 02 00 01 02 00 04 a2 41", "02 10 01 02 00 01 a1 c6"),
        ("01 10 01 02 00 01 02 00 04 b6 b1", "01 10 01 02 00 01 a1 f5"),
        ("02 04 00 05 00 01 21 f8", "02 04 02 00 02 7c f1"),
        ("02 04 00 06 00 03 50 39", "02 04 06 00 00 00 00 00 00 74 63"),
        ("02 04 00 0a 00 03 90 3a", "02 04 06 00 ed 00 ee 00 ee 38 0d"),
        ("02 04 00 0e 00 01 50 3a", "02 04 02 00 00 fd 30"),
        ("02 04 00 11 00 02 21 fd", "02 04 04 00 31 dd e9 01 95"),
        ("02 03 01 05 00 01 95 c4", "02 03 02 00 00 fc 44"),
        ("01 06 01 01 3a 98 ca fc", "01 06 01 01 3a 98 ca fc"),
        ("01 03 01 02 00 01 24 36", "01 83 02 c0 f1"),
        ("01 06 01 02 00 00 29 f6", "01 06 01 02 00 00 29 f6"),
        ("01 06 01 02 00 04 28 35", "01 06 01 02 00 04 28 35"),
        ("01 06 01 03 00 00 78 36", "01 06 01 03 00 00 78 36"),
        ("01 06 01 03 00 01 b9 f6", "01 06 01 03 00 01 b9 f6"),
        ("01 06 01 05 00 00 98 37", "01 06 01 05 00 00 98 37"),
        ("01 06 01 05 00 3c 98 26", "01 06 01 05 00 3c 98 26"),
        ("01 06 01 05 00 a0 98 4f", "01 06 01 05 00 a0 98 4f"),
        ("01 10 01 05 00 01 02 00 a0 b6 bd", "01 10 01 05 00 01 10 34"),
        ("01 06 01 06 00 00 68 37", "01 06 01 06 00 00 68 37"),
    ];
    let mut now_ms = 1_000;
    for (request, reply) in dialogue {
        now_ms += 100;
        let wallbox = if request.starts_with("01") { &mut one } else { &mut two };
        let got = ask(wallbox, now_ms, &hex(request));
        let want = hex(reply);
        if request == "01 10 01 05 00 01 02 00 a0 b6 bd" {
            assert_eq!(got.unwrap()[..6], want[..6], "the CRC of this answer is not among the sources");
        } else {
            assert_eq!(got, Some(want), "{request}");
        }
    }
    assert_eq!(read(&mut one, now_ms + 100, 4, 10, 3), Ok(vec![239, 241, 240]));
    assert_eq!(ask(&mut one, now_ms + 200, &hex("01 04 00 04 00 01 70 0b")).unwrap()[3..5], [1, 7]);
    assert_eq!(ask(&mut one, now_ms + 300, &hex("01 04 00 05 00 0e 61 cf")).unwrap().len(), 33);
    assert_eq!(read(&mut one, now_ms + 400, 4, 17, 2), Ok(vec![0, 0xc94a]));
}

#[test]
fn exceptions_follow_the_table() {
    let mut wallbox = Wallbox::new(WallboxOptions { layout: Layout::V1_0_4, ..options() });
    assert_eq!(ask(&mut wallbox, 100, &hex("01 03 01 05 00 01 95 f7")).unwrap(), hex("01 83 02 c0 f1"));
    assert_eq!(read(&mut wallbox, 200, 4, 5, 14), Err(2), "17 and 18 are missing");
    assert_eq!(read(&mut wallbox, 300, 4, 5, 12).map(|values| values.len()), Ok(12));
    assert_eq!(write(&mut wallbox, 400, 258, 1), Err(3));
    assert_eq!(write(&mut wallbox, 500, 261, 60), Err(2));
    assert_eq!(read(&mut wallbox, 600, 4, 5, 0), Err(3));
    assert_eq!(read(&mut wallbox, 700, 4, 5, 126), Err(3));
    assert_eq!(ask(&mut wallbox, 800, &seal(vec![1, 0x11])).unwrap(), seal(vec![1, 0x91, 1]));
    let mut wallbox = Wallbox::new(options());
    assert_eq!(read(&mut wallbox, 100, 3, 258, 2), Ok(vec![0, 1]), "readable since 1.0.8");
    assert_eq!(read(&mut wallbox, 200, 3, 257, 6), Err(2), "260 is unused");
    assert_eq!(ask(&mut wallbox, 300, &hex("01 06 01 05 00 a1 59 8f")).unwrap(), hex("01 86 03 02 61"));
}

#[test]
fn other_units_and_broadcasts_are_ignored_and_do_not_feed() {
    let mut wallbox = Wallbox::new(options());
    write(&mut wallbox, 100, 261, 100).unwrap();
    for now_ms in (1_000..20_000).step_by(1_000) {
        assert_eq!(ask(&mut wallbox, now_ms, &seal(vec![2, 4, 0, 5, 0, 1])), None);
        assert_eq!(ask(&mut wallbox, now_ms + 500, &seal(vec![0, 6, 1, 5, 0, 160])), None);
    }
    assert!(wallbox.bus_lost() && wallbox.registers().setpoint == 100);
}

#[test]
fn the_watchdog_ends_in_state_f_and_takes_its_time_to_recover() {
    let mut wallbox = Wallbox::new(options());
    wallbox.tick(0, CAR);
    write(&mut wallbox, 100, 261, 100).unwrap();
    assert_eq!((wallbox.allowed_deciamps(), wallbox.state()), (100, 7));
    wallbox.tick(15_100, CAR);
    assert_eq!(wallbox.state(), 7);
    wallbox.tick(15_101, CAR);
    assert_eq!((wallbox.allowed_deciamps(), wallbox.state()), (0, 10));
    assert!(wallbox.pilot().state_f);
    assert_eq!(read(&mut wallbox, 20_000, 4, 5, 1), Ok(vec![10]));
    assert_eq!(read(&mut wallbox, 29_000, 4, 5, 1), Ok(vec![10]));
    assert_eq!(read(&mut wallbox, 29_600, 4, 5, 1), Ok(vec![7]));
    assert_eq!(wallbox.allowed_deciamps(), 100, "the order is as it was");
}

#[test]
fn a_recovery_that_falls_silent_starts_over() {
    let mut wallbox = Wallbox::new(options());
    write(&mut wallbox, 100, 257, 5_000).unwrap();
    read(&mut wallbox, 10_000, 4, 5, 1).unwrap();
    read(&mut wallbox, 16_000, 4, 5, 1).unwrap();
    assert_eq!(read(&mut wallbox, 20_000, 4, 5, 1), Ok(vec![10]));
    assert_eq!(read(&mut wallbox, 24_000, 4, 5, 1), Ok(vec![10]));
    assert_eq!(read(&mut wallbox, 25_600, 4, 5, 1), Ok(vec![2]));
}

#[test]
fn the_fail_safe_current_holds_on_bus_loss() {
    let mut wallbox = Wallbox::new(options());
    wallbox.tick(0, CAR);
    write(&mut wallbox, 100, 261, 160).unwrap();
    write(&mut wallbox, 200, 262, 60).unwrap();
    wallbox.tick(16_000, CAR);
    assert_eq!((wallbox.allowed_deciamps(), wallbox.state()), (60, 7));
    assert_eq!(read(&mut wallbox, 16_100, 3, 261, 1), Ok(vec![160]));
    assert_eq!(wallbox.allowed_deciamps(), 160);
    write(&mut wallbox, 16_200, 257, 0).unwrap();
    wallbox.tick(900_000, CAR);
    assert!(!wallbox.bus_lost(), "a watchdog of 0 is off");
}

#[test]
fn only_valid_frames_feed() {
    let mut wallbox = Wallbox::new(options());
    wallbox.tick(0, CAR);
    for now_ms in (1_000..17_000).step_by(1_000) {
        assert_eq!(ask(&mut wallbox, now_ms, &hex("01 04 00 05 00 01 00 00")), None);
    }
    assert!(wallbox.bus_lost());
    assert_eq!(wallbox.bad_frames(), 16);
}

#[test]
fn without_a_car_it_sleeps_and_a_car_wakes_it_with_defaults() {
    for (layout, watchdog) in [(Layout::V1_0_7, 15_000), (Layout::V1_0_8, 30_000)] {
        let mut wallbox = Wallbox::new(WallboxOptions { layout, setpoint_default: 160, ..options() });
        wallbox.tick(0, NO_CAR);
        write(&mut wallbox, 100, 257, 30_000).unwrap();
        write(&mut wallbox, 200, 261, 0).unwrap();
        let mut now_ms = 1_000;
        while wallbox.power() == Power::On {
            now_ms += 1_000;
            ask(&mut wallbox, now_ms, &hex("01 04 00 05 00 01 21 cb"));
            wallbox.tick(now_ms + 1, NO_CAR);
        }
        assert_eq!(now_ms, 13 * 60_000);
        assert_eq!(wallbox.power(), Power::Standby);
        assert_eq!(ask(&mut wallbox, now_ms + 60_000, &hex("01 04 00 05 00 01 21 cb")), None);
        wallbox.tick(now_ms + 100_000, CAR);
        assert_eq!(ask(&mut wallbox, now_ms + 101_000, &hex("01 04 00 05 00 01 21 cb")), None, "starting");
        assert_eq!(read(&mut wallbox, now_ms + 103_000, 4, 5, 1), Ok(vec![7]));
        assert_eq!(wallbox.registers().watchdog_ms, watchdog, "{layout:?}");
        assert_eq!(wallbox.registers().setpoint, 160, "261 always reverts");
    }
}

#[test]
fn standby_off_or_remote_lock_keep_it_awake() {
    for (register, value) in [(258, 4), (259, 0)] {
        let mut wallbox = Wallbox::new(options());
        wallbox.tick(0, NO_CAR);
        write(&mut wallbox, 100, register, value).unwrap();
        wallbox.tick(3_600_000, NO_CAR);
        assert_eq!(wallbox.power(), Power::On);
    }
}

#[test]
fn locks_show_state_f() {
    let mut wallbox = Wallbox::new(options());
    wallbox.tick(0, CAR);
    write(&mut wallbox, 100, 261, 100).unwrap();
    write(&mut wallbox, 200, 259, 0).unwrap();
    assert_eq!((wallbox.state(), wallbox.allowed_deciamps()), (10, 0));
    write(&mut wallbox, 300, 259, 1).unwrap();
    assert_eq!((wallbox.state(), wallbox.allowed_deciamps()), (7, 100));
    wallbox.set_external_lock(true);
    assert_eq!(read(&mut wallbox, 400, 4, 5, 9).map(|values| (values[0], values[8])), Ok((10, 0)));
}

#[test]
fn states_follow_car_order_and_errors() {
    let mut wallbox = Wallbox::new(options());
    wallbox.tick(0, NO_CAR);
    assert_eq!(wallbox.state(), 2);
    wallbox.tick(1, CarSignal { asks: false, ..CAR });
    assert_eq!(wallbox.state(), 4);
    wallbox.tick(2, CAR);
    assert_eq!(wallbox.state(), 6);
    write(&mut wallbox, 100, 261, 59).unwrap();
    assert_eq!(wallbox.state(), 6, "1 … 59 act as 0");
    assert_eq!(wallbox.last_forbidden().map(|write| (write.register, write.value)), Some((261, 59)));
    write(&mut wallbox, 200, 261, 160).unwrap();
    assert_eq!(wallbox.state(), 7);
    wallbox.set_derating(Some(80));
    assert_eq!((wallbox.state(), wallbox.allowed_deciamps()), (8, 80));
    wallbox.set_error(Some(BoxError::E));
    assert_eq!((wallbox.state(), wallbox.allowed_deciamps()), (9, 0));
    wallbox.set_error(Some(BoxError::Err));
    assert_eq!(wallbox.state(), 11);
    wallbox.set_error(None);
    wallbox.set_derating(None);
    wallbox.tick(300, CarSignal { asks: false, ..CAR });
    assert_eq!(wallbox.state(), 5);
    wallbox.tick(400, NO_CAR);
    assert_eq!(wallbox.state(), 3);
}

#[test]
fn what_the_hardware_forbids_is_noted_and_capped() {
    let mut wallbox = Wallbox::new(WallboxOptions { hardware_max_a: 10, ..options() });
    write(&mut wallbox, 100, 261, 100).unwrap();
    assert_eq!(wallbox.last_forbidden(), None);
    write(&mut wallbox, 200, 261, 101).unwrap();
    assert_eq!(wallbox.allowed_deciamps(), 100);
    assert!(wallbox.last_forbidden().is_some());
    assert_eq!(wallbox.writes().get(&261), Some(&2));
}

#[test]
fn counters_lose_what_no_standby_saved() {
    let mut wallbox = Wallbox::new(WallboxOptions { installed_vah: 70_000, voltages: [230, 230, 8], ..options() });
    let charging = CarSignal { amps: [10.0; 3], ..CAR };
    write(&mut wallbox, 0, 257, 0).unwrap();
    write(&mut wallbox, 100, 261, 160).unwrap();
    wallbox.tick(1_000, charging);
    wallbox.tick(1_000 + 3_600_000, charging);
    assert_eq!(read(&mut wallbox, 3_601_000, 4, 6, 9), Ok(vec![100, 100, 0, 276, 230, 230, 8, 1, 4_600]));
    assert_eq!(read(&mut wallbox, 3_601_100, 4, 15, 4), Ok(vec![0, 4_600, 1, 9_064]));
    wallbox.power_cycle(3_700_000);
    assert_eq!(ask(&mut wallbox, 3_702_000, &hex("01 04 00 05 00 01 21 cb")), None);
    assert_eq!(read(&mut wallbox, 3_703_000, 4, 15, 4), Ok(vec![0, 0, 1, 4_464]));
}

#[test]
fn standby_saves_the_counter() {
    let mut wallbox = Wallbox::new(options());
    write(&mut wallbox, 0, 257, 0).unwrap();
    wallbox.tick(0, CarSignal { amps: [10.0; 3], ..CAR });
    wallbox.tick(3_600_000, NO_CAR);
    wallbox.tick(4_600_000, NO_CAR);
    assert_eq!(wallbox.power(), Power::Standby);
    wallbox.power_cycle(4_700_000);
    wallbox.tick(4_800_000, CAR);
    assert_eq!(read(&mut wallbox, 4_800_000, 4, 15, 4), Ok(vec![0, 0, 0, 7_130]));
}

#[test]
fn each_fault_of_the_line_does_what_it_says() {
    let request = hex("01 04 00 05 00 01 21 cb");
    let good = seal(vec![1, 4, 2, 0, 2]);
    let one = |fault: Fault| {
        let mut wallbox = Wallbox::new(options());
        wallbox.fault(fault, Some(1));
        let first = ask(&mut wallbox, 1_000, &request);
        let second = wallbox.poll_reply(1_000);
        wallbox.poll_reply(500_000);
        assert_eq!(wallbox.poll_reply(500_000), None);
        (first, second)
    };
    assert_eq!(one(Fault::Deaf), (None, None));
    assert_eq!(one(Fault::Silent), (None, None));
    assert_eq!(one(Fault::Delay(700)), (None, None));
    assert_eq!(one(Fault::Late), (None, None));
    let (bad, _) = one(Fault::WrongCrc);
    assert!(bad.is_some_and(|bad| bad.len() == good.len() && bad != good));
    assert_eq!(one(Fault::Truncated(5)), (Some(good[..5].to_vec()), None));
    assert_eq!(one(Fault::Garbage(vec![0x55; 60])), (Some(vec![0x55; 60]), None));
    assert_eq!(one(Fault::Echo), (Some(request.clone()), Some(good.clone())));
    assert_eq!(one(Fault::OtherUnit(9)), (Some(seal(vec![9, 4, 2, 0, 2])), None));
    assert_eq!(one(Fault::Exception(6)), (Some(seal(vec![1, 0x84, 6])), None));

    let mut wallbox = Wallbox::new(options());
    wallbox.fault(Fault::Late, Some(1));
    assert_eq!(ask(&mut wallbox, 1_000, &request), None);
    assert_eq!(ask(&mut wallbox, 2_000, &hex("01 03 01 05 00 01 95 f7")), Some(good));
    assert_eq!(wallbox.poll_reply(2_000), Some(seal(vec![1, 3, 2, 0, 0])));

    wallbox.fault(Fault::Forgets, None);
    write(&mut wallbox, 3_000, 261, 80).unwrap();
    assert_eq!(wallbox.registers().setpoint, 0);
    wallbox.heal();
    write(&mut wallbox, 4_000, 261, 80).unwrap();
    assert_eq!(wallbox.registers().setpoint, 80);
}

#[test]
fn a_silent_write_is_done_and_a_deaf_one_is_not() {
    let mut wallbox = Wallbox::new(options());
    wallbox.fault(Fault::Silent, Some(1));
    assert_eq!(ask(&mut wallbox, 100, &hex("01 06 01 05 00 3c 98 26")), None);
    assert_eq!(wallbox.registers().setpoint, 60);
    wallbox.fault(Fault::Deaf, Some(1));
    assert_eq!(ask(&mut wallbox, 200, &hex("01 06 01 05 00 a0 98 4f")), None);
    assert_eq!(wallbox.registers().setpoint, 60);
}

#[test]
fn replies_take_their_time_on_the_line() {
    let mut wallbox = Wallbox::new(WallboxOptions { reply_delay_ms: 20, line_time: true, ..options() });
    wallbox.bytes(1_000, &hex("01 04 00 05 00 01 21 cb"));
    // 8 and 7 bytes of 11 bits at 19200 baud: 5 ms each.
    assert_eq!(wallbox.next_reply_ms(), Some(1_030));
    assert_eq!(wallbox.poll_reply(1_029), None);
    assert!(wallbox.poll_reply(1_030).is_some());
    let kinds: Vec<_> = wallbox.log().map(|entry| (entry.at_ms, entry.kind)).collect();
    assert_eq!(kinds, [(1_000, LogKind::Request), (1_030, LogKind::Reply)]);
}

fn connect() -> Wallbox {
    let mut wallbox = Wallbox::new(WallboxOptions { layout: Layout::Connect2_0_4, ..options() });
    wallbox.tick(0, CAR);
    wallbox
}

/// Lets time pass with a request every 10 s, which feeds the watchdog.
fn feed(wallbox: &mut Wallbox, from_ms: u64, until_ms: u64) {
    for now_ms in (from_ms..=until_ms).step_by(10_000) {
        read(wallbox, now_ms, 4, 5, 1).unwrap();
    }
}

#[test]
fn the_connect_series_switches_phases() {
    let mut wallbox = connect();
    assert_eq!(write(&mut wallbox, 200, 258, 4), Err(2));
    assert_eq!(read(&mut wallbox, 300, 4, 5_001, 1), Ok(vec![3]));
    assert_eq!(read(&mut wallbox, 400, 3, 503, 2), Ok(vec![90, 0]));
    write(&mut wallbox, 1_000, 501, 1).unwrap();
    write(&mut wallbox, 1_100, 261, 60).unwrap();
    assert_eq!(read(&mut wallbox, 1_200, 4, 5_001, 1), Ok(vec![0]));
    assert_eq!((wallbox.state(), wallbox.allowed_deciamps()), (6, 0), "no contactor is closed");
    feed(&mut wallbox, 2_000, 82_000);
    assert_eq!((wallbox.pilot().phases, wallbox.allowed_deciamps()), (3, 0));
    feed(&mut wallbox, 91_000, 91_000);
    assert_eq!((wallbox.pilot().phases, wallbox.allowed_deciamps()), (1, 60));
    assert_eq!(read(&mut wallbox, 91_500, 4, 5_001, 1), Ok(vec![1]));
    for wrong in [0, 2, 4] {
        assert_eq!(write(&mut wallbox, 92_000, 501, wrong), Err(3));
    }
    assert_eq!(wallbox.last_forbidden(), None);
}

#[test]
fn switching_phases_under_load_is_declined_and_remembered() {
    let mut wallbox = connect();
    write(&mut wallbox, 100, 261, 60).unwrap();
    assert_eq!(write(&mut wallbox, 200, 501, 1), Err(6));
    assert_eq!(wallbox.last_forbidden().map(|forbidden| forbidden.register), Some(501));
    let mut wallbox = connect();
    wallbox.tick(100, CarSignal { amps: [0.0, 1.5, 0.0], ..CAR });
    assert_eq!(write(&mut wallbox, 200, 501, 1), Err(6));
    assert!(wallbox.last_forbidden().is_some());
    assert_eq!(read(&mut wallbox, 300, 4, 5_001, 1), Ok(vec![3]));
    // A repeated command changes nothing.
    let mut wallbox = connect();
    write(&mut wallbox, 100, 261, 60).unwrap();
    write(&mut wallbox, 200, 501, 3).unwrap();
    assert_eq!(wallbox.last_forbidden(), None);
}

#[test]
fn the_switch_ignores_hangs_and_is_set_anew_by_a_power_cycle() {
    let mut wallbox = connect();
    wallbox.set_switch_fault(Some(SwitchFault::Ignores));
    write(&mut wallbox, 100, 501, 1).unwrap();
    feed(&mut wallbox, 1_000, 101_000);
    assert_eq!(read(&mut wallbox, 101_100, 4, 5_001, 1), Ok(vec![3]));
    assert_eq!(read(&mut wallbox, 101_200, 3, 501, 1), Ok(vec![1]));
    wallbox.set_switch_fault(Some(SwitchFault::Hangs));
    write(&mut wallbox, 102_000, 501, 1).unwrap();
    feed(&mut wallbox, 103_000, 303_000);
    assert_eq!(read(&mut wallbox, 303_100, 4, 5_001, 1), Ok(vec![0]));
    wallbox.power_cycle(304_000);
    assert_eq!(read(&mut wallbox, 308_000, 4, 5_001, 1), Ok(vec![1]), "the command survives");
}

#[test]
fn a_box_may_lack_what_its_layout_has() {
    let missing = vec![501, 5_001];
    let mut wallbox = Wallbox::new(WallboxOptions { layout: Layout::Connect2_0_4, missing, ..options() });
    assert_eq!(read(&mut wallbox, 100, 4, 5_001, 1), Err(2));
    assert_eq!(read(&mut wallbox, 200, 3, 501, 1), Err(2));
    assert_eq!(write(&mut wallbox, 300, 501, 1), Err(2));
}
