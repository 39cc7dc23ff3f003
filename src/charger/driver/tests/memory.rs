//! A line that is reopened, as by a reload of the configuration, with a wallbox that was left alone before.

use super::left_alone::Watch;
use super::*;

impl Rig {
    /// Ends the driver and continues with a new one; returns true if anything is remembered.
    fn reload(&mut self) -> bool {
        let order = self.order.take();
        self.tell(Input::Shutdown);
        while !self.driver.ended() {
            self.run(Millis(100));
        }
        let memory = self.driver.memory(self.now);
        let profile = profile::load(&setup().profile).unwrap();
        self.driver = Driver::new(ID, &setup(), profile, self.now);
        let remembered = memory.is_some();
        if let Some(memory) = memory {
            self.driver.remember(memory, self.now);
        }
        self.tell(Input::LineUp);
        self.order(order.and_then(|order| order.setpoint));
        remembered
    }
}

#[test]
fn reloads_of_the_configuration_do_not_feed_a_wallbox_that_was_left_alone() {
    let ills: [fn(&mut FakeBox); 6] = [
        |fake| fake.stubborn = vec![261],
        |fake| fake.unreadable = vec![261],
        |fake| fake.exception = Some(6),
        |fake| fake.reverts = Some(Millis(5_000)),
        |fake| fake.ignores = Some(160),
        |fake| (fake.ignores, fake.mute) = (Some(160), true),
    ];
    for (case, ill) in ills.into_iter().enumerate() {
        for every in [45, 55, 100] {
            let mut rig = Rig::charging_at(0x107, 16);
            rig.fake.lag = Some(Millis(3_000));
            ill(&mut rig.fake);
            rig.amps(0);
            let mut watch = Watch::new();
            watch.run(&mut rig, Millis(55_000), 0);
            for _ in 0..12 {
                assert!(rig.reload(), "{case}");
                watch.run(&mut rig, Millis::from_secs(every), 0);
            }
            assert!(watch.longest <= Millis(90_000), "{case}, {every}: {:?}", watch.longest);
            let left = |notice: &&&Notice| matches!(notice, Notice::Trouble(Trouble::LeftAlone { .. }));
            assert_eq!(rig.notices().iter().filter(left).count(), 1, "{case}, {every}: {:#?}", rig.notices());
        }
    }
}

#[test]
fn the_silence_is_counted_from_the_last_word_and_the_wallbox_is_taken_back() {
    for (known, silence) in [(true, 35_000), (false, 70_535)] {
        let mut rig = if known { Rig::charging_at(0x107, 16) } else { Rig::new(0x107) };
        rig.fake.mute = true;
        rig.amps(0);
        rig.run(Millis(60_000));
        assert!(rig.reload());
        let (last, count) = (rig.fake.requests.last().unwrap().0, rig.fake.requests.len());
        assert_eq!(rig.report().link, Reachability::Offline);
        rig.fake.mute = false;
        rig.run(Millis(silence + 10_000));
        let next = rig.fake.requests[count];
        assert_eq!(next.1, Operation::WriteSingle { addr: 261, value: 0 });
        assert!(next.0.since(last) >= Millis(silence), "{known}: {:?}", next.0.since(last));
        assert_eq!((rig.report().link, rig.report().setpoint), (Reachability::Online, Some(Milliamps(0))));
    }
}

#[test]
fn nothing_is_remembered_of_a_wallbox_that_does_what_it_is_told_or_can_only_be_watched() {
    let mut rig = Rig::charging_at(0x107, 16);
    assert!(!rig.reload());
    rig.run(Millis(10_000));
    assert_eq!(rig.report().link, Reachability::Online);
    let mut old = Rig::new(0x103);
    old.amps(10);
    old.run(Millis(10_000));
    assert!(!old.reload());
}
