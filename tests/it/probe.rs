//! `surplusd probe` on a pseudo-terminal: the test plays the box.

use tokio::time::timeout;

use crate::bus::{LIMIT, Player};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    probe: surplusd::cli::probe::Args,
}

/// Runs `surplusd probe` with those arguments while the player answers; returns its exit code.
async fn probe(player: Option<&mut Player>, args: &[&str]) -> u8 {
    probe_says(player, args).await.0
}

/// As [`probe`], with what it says.
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
    // It waits half a second for an answer: a machine that is held up for longer again and again costs a try.
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

/// One lost answer says nothing of a wallbox; that answers are lost does.
#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let mut player = Player::new();
    player.lost = [(4, 1), (257, 3), (262, 2)].into();
    let path = player.path().to_string_lossy().into_owned();
    let (code, text) = probe_says(Some(&mut player), &["--port", &path, "--reply-ms", "1000"]).await;
    assert_eq!(code, 0, "{text}");
    for part in [
        "no answer in time, asked 3 times",
        "Its watchdog could not be read: surplusd does not let it charge as long as that is so.",
        "It then goes on charging with 6.0 A.",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    // A machine that is held up loses more of them.
    let count = text.split("It does not answer reliably: ").nth(1).and_then(|rest| rest.split(" of ").next());
    assert!(count.and_then(|count| count.parse().ok()).is_some_and(|count: u32| count >= 6), "{text}");
}
