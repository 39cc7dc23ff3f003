//! `surplusd demo` and its end: however it ends, no throw-away key is left behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Kills the demo if a test fails.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_signal_or_a_closed_terminal_leaves_nothing_behind() {
    for (name, ends) in [("HUP", "hung up"), ("TERM", "told to end"), ("INT", "interrupted")] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_surplusd"));
        command.args(["demo", "--speed", "60"]).env("TMPDIR", folder.path());
        let mut demo = Demo(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
        // The world exists, with its keys, and the daemon has decided.
        while !lines.next().unwrap().unwrap().contains("  solar  ") {}
        assert_eq!(entries(folder.path()), 1);
        let killed = Command::new("kill").args([format!("-{name}"), demo.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
        // Wait for a minute at most.
        let status = (0..3_000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            demo.0.try_wait().unwrap()
        });
        let status = status.unwrap_or_else(|| panic!("{ends}: it does not end"));
        assert_eq!(status.code(), Some(0), "{ends}");
        assert_eq!(entries(folder.path()), 0, "{ends}");
    }
}
