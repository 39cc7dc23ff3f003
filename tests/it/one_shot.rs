//! Single requests on a pseudo-terminal, as `surplusd probe` makes them: the test plays the wallbox, byte for byte.

use std::path::PathBuf;
use std::time::Duration;

use control::Millis;
use surplusd::charger::bus::OneShot;
use surplusd::charger::codec::{Failure, Flaw, Operation, Outcome, Request, Sample};
use surplusd::charger::line::OpenError;
use surplusd::charger::profile;
use surplusd::clock::Clock;
use surplusd::config::LinkConfig;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_serial::SerialPort;

use crate::bus::{LATER, LIMIT, PATIENT, Player, SHORT, SPEED, framed, hex};

async fn one_shot(player: &Player) -> OneShot {
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    loop {
        match OneShot::open(LinkConfig::Serial { path: player.path() }, defaults, Clock::start(SPEED)).await {
            // Another test is starting a program, which until then holds everything that this process has open.
            Err(OpenError::Busy | OpenError::Ours) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
}

async fn ask(line: &mut OneShot, player: &mut Player, op: Operation, frame: &str, reply: &[&str]) -> Outcome {
    ask_within(PATIENT, line, player, op, frame, reply).await
}

async fn ask_within(
    limit: Millis,
    line: &mut OneShot,
    player: &mut Player,
    op: Operation,
    frame: &str,
    reply: &[&str],
) -> Outcome {
    let asked = async {
        loop {
            let mut arrived = false;
            let play = async {
                assert_eq!(player.request().await, hex(frame));
                arrived = true;
                for piece in reply {
                    player.send(&hex(piece)).await;
                    tokio::task::yield_now().await;
                }
                std::future::pending::<()>().await;
            };
            let outcome = tokio::select! {
                outcome = line.ask(Request { unit: hex(frame)[0], op }, limit) => outcome,
                () = play => unreachable!("it plays on"),
            };
            // A busy machine may take longer than a short limit to deliver the request.
            if arrived
                || !matches!(outcome, Ok(Outcome::Failed(Failure::Timeout)) | Err(OpenError::Busy | OpenError::Ours))
            {
                return outcome.unwrap();
            }
        }
    };
    timeout(LIMIT, asked).await.expect("request and answer in time")
}

pub(crate) const fn input(addr: u16, count: u16) -> Operation {
    Operation::ReadInput { addr, count }
}

const fn holding(addr: u16) -> Operation {
    Operation::ReadHolding { addr, count: 1 }
}

#[tokio::test]
async fn captured_answers_are_understood_also_in_pieces() {
    let mut player = Player::new();
    let mut line = one_shot(&player).await;
    // Captured from real wallboxes; see the register table for the meaning.
    let cases: [(Operation, &str, &[&str], &[u16]); 9] = [
        (holding(257), "01 03 01 01 00 01 d4 36", &["01 03 02 3a 98 ab 4e"], &[15_000]),
        (input(5, 1), "02 04 00 05 00 01 21 f8", &["02 04 02 00 02 7c f1"], &[2]),
        (input(6, 3), "02 04 00 06 00 03 50 39", &["02 04 06 00", "00 00 00 00 00", "74 63"], &[0, 0, 0]),
        (input(10, 3), "02 04 00 0a 00 03 90 3a", &["02 04 06 00 ed 00 ee 00 ee 38 0d"], &[237, 238, 238]),
        (input(10, 3), "02 04 00 0a 00 03 90 3a", &["02", "04 06 00 ef 00 f1 00 f0 f0 03"], &[239, 241, 240]),
        (input(14, 1), "02 04 00 0e 00 01 50 3a", &["02 04 02 00 00 fd 30"], &[0]),
        (input(17, 2), "02 04 00 11 00 02 21 fd", &["02 04 04 00 31 dd e9 01 95"], &[0x31, 0xdde9]),
        (input(17, 2), "02 04 00 11 00 02 21 fd", &["02 04 04 00 00 c9 4a 1f 23"], &[0, 51_530]),
        (holding(261), "02 03 01 05 00 01 95 c4", &["02 03 02 00 00 fc 44"], &[0]),
    ];
    for (op, frame, reply, words) in cases {
        assert_eq!(ask(&mut line, &mut player, op, frame, reply).await, Outcome::Registers(words.to_vec()), "{frame}");
    }
}

#[tokio::test]
async fn nothing_but_the_answer_is_taken_for_it_and_the_next_request_is_answered_right() {
    let mut player = Player::new();
    let mut line = one_shot(&player).await;
    let read_257 = "01 03 01 01 00 01 d4 36";
    let garbage = vec!["55"; 60].join(" ");
    let noise = |bytes: &str| Some(Outcome::Failed(Failure::Noise(Sample::of(&hex(bytes)))));
    let cases: [(&str, Millis, Option<Outcome>); 6] = [
        // Truncated, as captured from a slow adapter.
        ("01 03 02 3a", LATER, noise("01 03 02 3a")),
        // Wrong CRC.
        ("01 03 02 3a 98 ab 4f", LATER, noise("01 03 02 3a 98 ab 4f")),
        (&garbage, LATER, noise(&garbage)),
        // Another block: 239 V, 241 V, 240 V instead of one holding register.
        ("02 04 06 00 ef 00 f1 00 f0 f0 03", LATER, Some(Outcome::Failed(Failure::Malformed(Flaw::Unit(2))))),
        ("01 83 02 c0 f1", PATIENT, Some(Outcome::Exception(2))),
        ("", SHORT, Some(Outcome::Failed(Failure::Timeout))),
    ];
    for (reply, limit, outcome) in cases {
        let found = ask_within(limit, &mut line, &mut player, holding(257), read_257, &[reply]).await;
        match outcome {
            Some(outcome) => assert_eq!(found, outcome, "{reply}"),
            None => assert!(matches!(found, Outcome::Failed(_)), "{reply}: {found:?}"),
        }
        let good = ask(&mut line, &mut player, holding(257), read_257, &["01 03 02 3a 98 ab 4e"]).await;
        assert_eq!(good, Outcome::Registers(vec![15_000]), "after {reply}");
    }
}

#[tokio::test]
async fn two_masters_cannot_have_one_port() {
    let player = Player::new();
    let _first = one_shot(&player).await;
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    let open = |path: PathBuf| OneShot::open(LinkConfig::Serial { path }, defaults, Clock::start(SPEED));
    // The player has it open as well; if another program had, it would be `Busy`.
    assert_eq!(open(player.path()).await.err(), Some(OpenError::Ours));
    assert_eq!(open("/dev/surplusd-no-such-port".into()).await.err(), Some(OpenError::Missing));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(open(file.path().to_owned()).await.err(), Some(OpenError::NotATty));
}

#[tokio::test]
async fn what_nobody_asked_for_is_thrown_away() {
    let mut player = Player::new();
    let mut line = one_shot(&player).await;
    let frame = "01 03 01 01 00 01 d4 36";
    let good = ["01 03 02 3a 98 ab 4e"];
    assert_eq!(ask(&mut line, &mut player, holding(257), frame, &good).await, Outcome::Registers(vec![15_000]));
    player.send(&framed(vec![1, 3, 2, 0, 60])).await;
    assert_eq!(ask(&mut line, &mut player, holding(257), frame, &good).await, Outcome::Registers(vec![15_000]));
}

#[tokio::test]
async fn a_line_that_is_never_quiet_belongs_to_somebody_else() {
    let mut player = Player::new();
    // As fast as the line allows: it is full whenever anyone listens.
    let babble = async {
        loop {
            player.master.write_all(&[0x55; 64]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let path = player.slave.name().unwrap();
    let defaults = profile::load("heidelberg-energy-control").unwrap().link;
    let link = LinkConfig::Serial { path: path.into() };
    let refused = async {
        loop {
            match OneShot::open(link.clone(), defaults, Clock::start(SPEED)).await.err() {
                // As in `one_shot`.
                Some(OpenError::Busy | OpenError::Ours) => tokio::time::sleep(Duration::from_millis(10)).await,
                refused => return refused,
            }
        }
    };
    tokio::select! {
        biased;
        () = babble => {}
        refused = timeout(LIMIT, refused) => assert_eq!(refused.unwrap(), Some(OpenError::Noisy)),
    }
}
