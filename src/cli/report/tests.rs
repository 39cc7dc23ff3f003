use std::io::Read;

use flate2::read::GzDecoder;

use super::*;
use crate::daemon::record;

fn files(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(archive).unwrap()));
    let read = |entry: io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn a_report_has_what_can_be_read_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("surplusd.toml");
    let text = "version = 1\n[mqtt]\nurl = \"mqtt://127.0.0.1\"\nusername = \"ann\"\npassword-file = \"hunter2\"\n";
    std::fs::write(&config, text).unwrap();
    let output = folder.path().join("report.tar.gz");
    let args = Args { config, output: Some(output.clone()), socket: Some(folder.path().join("none")) };
    let mut said = Vec::new();
    let environment = Environment { state_directory: Some(folder.path().to_owned()), ..Environment::default() };
    assert_eq!(run(&args, &environment, &mut said).unwrap(), exit::OK);
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("status.json      missing: surplusd is not running here"), "{said}");
    let files = files(&output);
    let find = |name: &str| {
        let found = files.iter().find(|(found, _)| found == &format!("surplusd-report/{name}"));
        found.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
    };
    assert!(find("versions.txt").unwrap().contains("surplusd 0."), "{files:?}");
    assert_eq!(
        find("surplusd.toml").unwrap(),
        text.replace("\"ann\"", "\"(masked)\"").replace("\"hunter2\"", "\"(masked)\"")
    );
    assert!(find("journal.sqlite.missing").is_some() && find("status.json.missing").is_some(), "{said}");
    assert!(!files.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains("hunter2")), "{files:?}");
    // An existing file is not overwritten.
    assert!(run(&args, &environment, &mut Vec::new()).is_err());
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&output).unwrap().permissions()) & 0o777,
        0o600
    );
}

/// Three hours are recorded; the last one is included, and its decisions can be replayed.
#[tokio::test]
async fn the_last_hour_of_the_journal_replays() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("journal.sqlite");
    let config = config::JournalConfig {
        file: whole.clone(),
        keep: Millis::from_secs(86_400),
        max_bytes: 64_000_000,
        batch: Millis::from_secs(600),
    };
    record(config, 43_200, 3 * 3_600).await;
    let part = folder.path().join("part.sqlite");
    std::fs::write(&part, last_hour(&whole).unwrap()).unwrap();
    let (whole, part) = (Reader::open(&whole).unwrap(), Reader::open(&part).unwrap());
    let run = part.runs().unwrap()[0].clone();
    let (all, last) = (whole.batches(run.id).unwrap(), part.batches(run.id).unwrap());
    assert_eq!(all.last(), last.last());
    assert!((6..all.len() / 2).contains(&last.len()), "{} of {}", last.len(), all.len());
    let mut said = Vec::new();
    let args = crate::cli::replay::Args { file: folder.path().join("part.sqlite"), ..Default::default() };
    let code = crate::cli::replay::run(&args, &Environment::default(), &mut said).unwrap();
    assert_eq!(code, exit::OK, "{}", String::from_utf8_lossy(&said));
}
