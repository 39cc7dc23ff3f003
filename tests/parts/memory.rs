//! The daemon's memory over a long time at 50 messages a second.

use std::time::Duration;

use surplusd::sim::wallbox::WallboxOptions;

use crate::home::drawn;
use crate::house::{BASE, House, meters};
use crate::plan::{Watch, minutes, rss_kib, say};
use crate::stream::Stream;

/// Messages a second.
const RATE: u32 = 50;
/// What the resident memory may grow by after the warm-up: the page cache of the journal's database (512 KiB) fills up over hours, and the
/// allocator keeps some free space.
const GROWTH_KIB: u64 = 1_024;
/// How often the memory is read.
const LOOK: Duration = Duration::from_secs(5);
/// How many figures are printed.
const PRINTED: usize = 12;

/// The meters in turn, with a surplus that wanders; now and then a command that changes something, one that changes nothing, one that is
/// refused, and values that are none.
fn stream(house: &House) -> Stream {
    let wallbox = house.port.share();
    let mut surplus = 6_900;
    let mut sample = meters(surplus, 0);
    Stream::start(house.broker.door, *b"ms", RATE, move |n| {
        if n % 10 == 0 {
            surplus = (surplus + fastrand::i32(-250..=250)).clamp(2_000, 11_000);
            sample = meters(surplus, drawn(&wallbox));
        }
        match n % 10 {
            at @ 0..4 => sample[usize::try_from(at).unwrap()].clone(),
            4 => ("homeassistant/sensor/powerwall_charge/state".to_owned(), format!("{}.5", 50 + n % 7)),
            5 => (format!("{BASE}/set/current"), (6 + n / 10 % 10).to_string()),
            6 => (format!("{BASE}/set/mode"), "solar".to_owned()),
            7 => (format!("{BASE}/set/mode"), format!("x{n}")),
            8 => (format!("{BASE}/set/carport/current"), format!("{n}")),
            _ => (format!("homeassistant/sensor/powerwall_charge/state{n}"), "unavailable".to_owned()),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test-faults"]
async fn flat() {
    let minutes = minutes();
    let mut house = House::build(WallboxOptions::default()).await;
    house.batch_s = 10;
    house.start();
    house.until("it is ready", |wallbox| wallbox.registers().standby == 4).await;
    let stream = stream(&house);
    let began = Watch::start();
    let mut seen: Vec<u64> = Vec::new();
    while began.read() < Duration::from_secs(60 * minutes) {
        tokio::time::sleep(LOOK).await;
        seen.push(rss_kib(house.pid()));
    }
    // A quarter, at most ten minutes, in which everything that is kept for a while has been kept once.
    let warm = (seen.len() / 4).min(120);
    let after = &seen[warm..];
    let (start, end) = after.split_at(after.len() / 2);
    let highest = |part: &[u64]| part.iter().copied().max().expect("minutes");
    let grown = highest(end).saturating_sub(highest(start));
    let shown: Vec<u64> = seen.iter().step_by(seen.len().div_ceil(PRINTED)).copied().collect();
    let rate = stream.sent() / began.read().as_secs().max(1);
    say(
        "memory::flat",
        format_args!(
            "{minutes} min at {rate} messages a second, resident KiB: {shown:?}; after a warm-up of {} s the highest of the second \
             half is {grown} KiB above that of the first (bound {GROWTH_KIB})",
            warm * 5
        ),
    );
    assert!(grown <= GROWTH_KIB, "{seen:?}");
    assert!(house.port.wallbox().writes()[&261] > 5, "it was steered meanwhile: {}", house.log());
    house.assert_well_behaved();
}
