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
    let cli = <Cli as clap::Parser>::try_parse_from([&["probe"], args].concat()).unwrap();
    let run = tokio::task::spawn_blocking(move || surplusd::cli::probe::run(&cli.probe, &mut std::io::sink()).unwrap());
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
    // It asks once, and waits half a second for the answer: a machine that is held up for longer costs a try.
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
