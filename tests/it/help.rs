//! What the program says of itself: every help text, as committed in `tests/golden/help.txt`. A change is seen in the review.

use std::process::Command;

/// Regenerates the file instead of comparing with it.
const UPDATE: &str = "SURPLUSD_UPDATE_HELP";

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_surplusd")).args(arguments).arg("--help").output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the commands in a help text.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let name =
        |line: &str| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned);
    list.lines().filter_map(name).filter(|name| name != "help").collect()
}

/// The help of a command and of all below it.
fn all(path: &[&str]) -> String {
    let text = help(path);
    let below: String = commands(&text).iter().map(|command| all(&[path, &[command.as_str()]].concat())).collect();
    format!("===== surplusd {}\n{text}\n{below}", path.join(" "))
}

#[test]
fn the_help_texts_are_as_committed() {
    let now = all(&[]);
    assert!(now.matches("=====").count() > 15, "{now}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/help.txt");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(file, &now).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    let different = now.lines().zip(committed.lines()).find(|(now, committed)| now != committed);
    assert!(
        now == committed,
        "help texts have changed, first: {different:?}\nif they are meant to: {UPDATE}=1 cargo test --test it help::"
    );
}
