//! Unusable files and failing disks.

use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Command;

use control::Milliamps;

use super::super::tests::state;
use super::*;

fn store(path: &Path, state: &State) -> io::Result<()> {
    replace(path, &Form::new(state, &Uptime::read()).text()?)
}

fn aside(path: &Path, number: u32) -> PathBuf {
    path.with_file_name(format!("state.json.damaged-{number}"))
}

#[test]
fn comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    store(&path, &state()).unwrap();
    let (loaded, found) = load(&path);
    assert_eq!(found, Found::Whole);
    let uptime = Uptime::read();
    assert!(Form::new(&loaded, &uptime).says_the_same_as(&Form::new(&state(), &uptime)));
}

#[test]
fn nothing_there_is_a_first_start_or_a_deleted_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(load(&folder.path().join("state.json")), (State::new(), Found::Nothing));
    assert_eq!(load(&folder.path().join("missing/state.json")), (State::new(), Found::Nothing));
}

/// Whatever lies in place of the file is kept for inspection, and a good file can be written there.
#[test]
fn what_cannot_be_read_is_set_aside() {
    let blanks = vec![b' '; 3 << 20];
    let bad: [&[u8]; 10] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{\"version\":3,\"chargers\":{}}",
        b"{\"version\":99999999999}",
        b"\0\0",
        b"\xff\xfe{\0",
        b"{\"version\":1,\"chargers\":{\"a\":{}}}",
        &blanks,
    ];
    for bytes in bad {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, bytes).unwrap();
        assert_eq!(load(&path), (State::new(), Found::Damaged), "{:?}", bytes.get(..40));
        assert!(!path.exists());
        assert_eq!(fs::read(aside(&path, 1)).unwrap(), bytes);
        store(&path, &state()).unwrap();
        assert_eq!(load(&path).1, Found::Whole);
    }
}

#[test]
fn a_pipe_a_folder_and_a_loop_of_links_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(load(&path).1, Found::Damaged);
    assert!(fs::metadata(aside(&path, 1)).unwrap().file_type().is_fifo());

    fs::create_dir(&path).unwrap();
    fs::write(path.join("something"), "").unwrap();
    assert_eq!(load(&path).1, Found::Damaged);
    assert!(aside(&path, 2).join("something").is_file());

    symlink("state.json", &path).unwrap();
    assert_eq!(load(&path).1, Found::Damaged);
    assert!(aside(&path, 3).is_symlink());

    symlink("/dev/zero", &path).unwrap();
    assert_eq!(load(&path).1, Found::Damaged);
    store(&path, &state()).unwrap();
    assert_eq!(load(&path).1, Found::Whole);
}

#[test]
fn only_so_many_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    for number in 1..=9 {
        fs::write(&path, format!("damage {number}")).unwrap();
        assert_eq!(load(&path).1, Found::Damaged);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    assert_eq!(fs::read_to_string(aside(&path, 1)).unwrap(), "damage 1");
    assert_eq!(fs::read_to_string(aside(&path, 5)).unwrap(), "damage 9", "the newest is kept too");
}

/// Neither a failed move nor a failed write stops the program; root can write anyway.
#[test]
fn a_folder_that_refuses_costs_the_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    fs::write(&path, "{").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(load(&path).1, Found::Damaged);
    let _ = store(&path, &state());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_lies_where_the_new_file_is_prepared_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let beside = folder.path().join("state.new");
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    symlink(&elsewhere, &beside).unwrap();
    store(&path, &state()).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
    assert!(Command::new("mkfifo").arg(&beside).status().unwrap().success());
    store(&path, &state()).unwrap();
    assert!(!beside.exists());
}

fn form(state: &State) -> Form {
    Form::new(state, &Uptime::read())
}

#[tokio::test]
async fn the_newest_is_stored_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let mut writer = Writer::start(path.clone()).unwrap();
    for current in 6..16 {
        let mut state = state();
        state.get_mut("carport").unwrap().fixed = Milliamps(current * 1_000);
        writer.write(current.into(), form(&state));
    }
    while writer.next().await.unwrap() != (Saved { generation: 15, trouble: None }) {}
    assert_eq!(load(&path).0.get("carport").unwrap().fixed, Milliamps(15_000));
}

#[tokio::test]
async fn a_disk_that_refuses_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::start(folder.path().join("missing/state.json")).unwrap();
    writer.write(1, form(&state()));
    let why = writer.next().await.unwrap().trouble.expect("it is told");
    assert!(why.starts_with("mode and counters cannot be stored (No such file or directory"), "{why}");
    fs::create_dir(folder.path().join("missing")).unwrap();
    writer.write(2, form(&state()));
    assert_eq!(writer.next().await, Some(Saved { generation: 2, trouble: None }));
}

/// `/dev/full` behaves like a full disk.
#[test]
fn a_full_disk_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    store(&path, &state()).unwrap();
    fs::create_dir(path.with_extension("new")).unwrap();
    assert!(store(&path, &State::new()).is_err());
    assert_eq!(load(&path).1, Found::Whole, "the old one is still there");
}
