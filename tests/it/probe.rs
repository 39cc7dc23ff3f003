//! `surplusd probe` on a pseudo-terminal: the test plays the wallbox.

use std::time::Duration;

use tokio::time::timeout;

use crate::bus::{LIMIT, Player};
use crate::line::{Cable, Manners, framed};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    probe: surplusd::cli::probe::Args,
}

/// Runs `surplusd probe` with these arguments while the player replies; returns its exit code.
async fn probe(player: Option<&mut Player>, args: &[&str]) -> u8 {
    probe_says(player, args).await.0
}

/// What is said of a port that must be reopened while a child process that another test has just started still holds a copy of it.
const HELD: &str = "has it open by another name";

/// As [`probe`], with its output.
async fn probe_says(player: Option<&mut Player>, args: &[&str]) -> (u8, String) {
    let cli = <Cli as clap::Parser>::try_parse_from([&["probe"], args].concat()).unwrap();
    let run = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        let code = surplusd::cli::probe::run(&cli.probe, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    });
    let play = async {
        match player {
            Some(player) => loop {
                player.serve_one().await;
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        code = timeout(LIMIT, run) => code.unwrap().unwrap(),
        () = play => unreachable!("the player plays for ever"),
    }
}

#[tokio::test]
async fn probe_reads_everything_and_writes_nothing() {
    let mut player = Player::new();
    let path = player.path().to_string_lossy().into_owned();
    // It waits half a second for a reply: a machine that is repeatedly delayed for longer costs an attempt.
    let mut tries = 0;
    while probe(Some(&mut player), &["--port", &path]).await != 0 || player.log.len() <= 15 {
        tries += 1;
        assert!(tries < 5, "{:x?}", player.log);
        player.log.clear();
    }
    assert!(player.log.len() > 15, "{}", player.log.len());
    assert!(player.log.iter().all(|frame| matches!(frame[1], 3 | 4)));
    assert!(!player.log.iter().any(|frame| frame[1] == 3 && matches!(frame[3], 2 | 3)), "258 and 259 on layout 1.0.7");
    assert_eq!(probe(None, &["--port", &path, "--unit", "3"]).await, 69);
    assert_eq!(probe(None, &["--port", "/dev/surplusd-no-such-port"]).await, 69);
}

/// One lost reply says nothing about a wallbox; that replies are lost is reported.
#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let (mut code, mut text) = (0, HELD.to_owned());
    for _ in 0..5 {
        if text.contains(HELD) {
            let mut player = Player::new();
            player.lost = [(4, 1), (257, 3), (262, 2)].into();
            let path = player.path().to_string_lossy().into_owned();
            (code, text) = probe_says(Some(&mut player), &["--port", &path, "--reply-ms", "1000"]).await;
        }
    }
    assert_eq!(code, 0, "{text}");
    for part in [
        "no answer in time, asked 3 times",
        "Its watchdog could not be read: surplusd does not let it charge until it can be read.",
        "It then goes on charging with 6.0 A.",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    // A busy machine loses more of them.
    let count = text.split("It does not answer reliably: ").nth(1).and_then(|rest| rest.split(" of ").next());
    assert!(count.and_then(|count| count.parse().ok()).is_some_and(|count: u32| count >= 6), "{text}");
}

/// Returns the exit code of `surplusd probe` with these arguments, and its messages to the user. Not a child process: that would inherit
/// the pseudo-terminals of all tests, with their locks.
async fn with_hints(args: &[&str]) -> (String, String) {
    let cli = <Cli as clap::Parser>::try_parse_from([&["probe"], args].concat()).unwrap();
    let run = tokio::task::spawn_blocking(move || {
        let (mut out, mut hints) = (vec![], vec![]);
        let code = surplusd::cli::probe::run_to(&cli.probe, &mut out, &mut hints).unwrap();
        (format!("{code:?}"), String::from_utf8([out, hints].concat()).unwrap())
    });
    timeout(LIMIT, run).await.expect("probe ends").unwrap()
}

#[tokio::test]
async fn probe_says_what_is_odd_about_a_line() {
    let late = Manners { delay: Duration::from_millis(900), ..Manners::default() };
    let other = Manners { instead: Some(framed(vec![5, 4, 2, 1, 7])), ..Manners::default() };
    let noise = Manners { instead: Some(vec![0xfe, 0xe0]), ..Manners::default() };
    for (manners, code, says) in [
        (Manners { mute: true, ..Manners::default() }, 69, "Nothing answers. Usual causes:\n  - A and B"),
        (
            Manners { mute: true, echoes: true, ..Manners::default() },
            69,
            "The adapter returns each request (local echo)",
        ),
        (noise, 69, "Bytes come, but they make no frame (the first: fe e0)"),
        (other, 69, "Unit 5 answered when unit 1 was asked"),
        (late, 69, "Wait longer: --reply-ms"),
        (Manners { echoes: true, ..Manners::default() }, 0, "line: the adapter returns each request before the answer"),
        (Manners { stray: vec![0], ..Manners::default() }, 0, "(the first: 00): they are skipped"),
    ] {
        let cable = Cable::new(manners.clone());
        // A reply that is due is waited for, however busy the machine.
        let reply = if code == 0 { "5000" } else { "500" };
        let args = ["--port", &cable.path.to_string_lossy(), "--reply-ms", reply];
        let code = code.to_string();
        let (mut ended, mut text) = with_hints(&args).await;
        for _ in 0..3 {
            if ended != code || text.contains(HELD) {
                // A machine that stands still for seconds makes any reply late.
                (ended, text) = with_hints(&args).await;
            }
        }
        assert_eq!(ended, code, "{manners:?}\n{text}");
        assert!(text.contains(says), "{manners:?}: {says:?} is not in\n{text}");
    }
}
