//! What journald receives: the real protocol on a socket of the test's own, put in journald's place in a mount namespace.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;

use crate::mosquitto::SOON;

const CONFIG: &str = r#"
version = 1
state-file = "state.json"
[mqtt]
url = "mqtt://127.0.0.1:1"
[[charger]]
name = "carport"
profile = "heidelberg-energy-control"
link = "serial:///dev/surplusd-that-is-not-there"
"#;

#[tokio::test]
async fn journald_gets_fields_and_priorities() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let socket = UnixDatagram::bind(journal.join("socket")).unwrap();
    std::fs::write(folder.path().join("surplusd.toml"), CONFIG).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = std::fs::File::from(OwnedFd::from(theirs));
    let name = stream.metadata().map(|data| format!("{}:{}", data.dev(), data.ino())).unwrap();

    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind {} /run/systemd/journal && exec {} run --config {}",
        journal.display(),
        env!("CARGO_BIN_EXE_surplusd"),
        folder.path().join("surplusd.toml").display(),
    );
    let possible = std::process::Command::new("unshare").args(["-rm", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).env("JOURNAL_STREAM", name).env("STATE_DIRECTORY", folder.path());
    let mut daemon = command.stderr(Stdio::from(stream)).kill_on_drop(true).spawn().unwrap();

    let mut entries = String::new();
    let heard = async {
        // The order of the two is undefined, and so is whether the line has already reported that it cannot be used.
        let both = ["no connection to the broker", "SETPOINT_MA"];
        while !both.iter().all(|text| entries.contains(text)) {
            let mut buffer = vec![0; 65_536];
            let length = socket.recv(&mut buffer).await.unwrap();
            let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if entry.contains("SETPOINT_MA") {
                for field in ["CHARGER", "carport: ", "0.0 A", "REASON", "SYSLOG_IDENTIFIER", "surplusd"] {
                    assert!(entry.contains(field), "{field}: {entry}");
                }
                assert!(["starting", "offline"].iter().any(|reason| entry.contains(reason)), "{entry}");
                assert!(priority(&entry, '6'), "informational: {entry}");
            }
            if entry.contains("no connection to the broker") {
                assert!(priority(&entry, '4'), "warning: {entry}");
            }
            entries += &entry;
        }
    };
    assert!(timeout(SOON, heard).await.is_ok(), "{entries}");
    daemon.kill().await.unwrap();
    drop(ours);
}

/// The value follows the name, a newline and its length in eight bytes.
fn priority(entry: &str, wanted: char) -> bool {
    entry.split("PRIORITY\n").nth(1).and_then(|rest| rest.chars().find(char::is_ascii_digit)) == Some(wanted)
}
