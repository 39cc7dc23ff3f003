//! Reads files that a user names, whole and up to a size limit: never a pipe that nobody writes to, nor a device that does not end; and
//! no secret that everybody on the machine can read or replace.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The permissions that nobody but a secret's owner and its group may have: reading and writing for others. An access list counts as the
/// group's, and systemd hands credentials over with one.
const OTHERS: u32 = 0o006;

/// Everybody on this machine may read or write a file with a secret; its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "everybody on this machine may read or write it (mode {0:04o}): `sudo chmod 0600` it; if others use this machine, make a new secret"
)]
pub struct Public(pub u32);

impl Public {
    /// The cause of an error of [`open_secret`] or [`read_secret`], if it is this one.
    pub fn cause(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Opens a regular file for reading; a link to one is accepted.
///
/// # Errors
/// If it is a directory, a pipe or a device, or cannot be opened.
pub fn open(file: &Path) -> io::Result<File> {
    // Checked before opening, because opening a pipe would wait for its writer.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(file)
}

/// Opens a regular file with a secret.
///
/// # Errors
/// As for [`open`], and [`Public`] if everybody may read or write it. Of a link, the file that it leads to counts.
pub fn open_secret(file: &Path) -> io::Result<File> {
    let opened = open(file)?;
    // Of the opened file: what has the name may change at any time.
    let mode = opened.metadata()?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 { Ok(opened) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, Public(mode))) }
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// As for [`open`], and if it is longer.
pub fn read(file: &Path, max: u64) -> io::Result<Vec<u8>> {
    whole(open(file)?, max)
}

/// Reads a regular file with a secret of at most `max` bytes.
///
/// # Errors
/// As for [`open_secret`], and if it is longer.
pub fn read_secret(file: &Path, max: u64) -> io::Result<Vec<u8>> {
    whole(open_secret(file)?, max)
}

fn whole(opened: File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    opened.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {max} bytes")));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `max` bytes as text.
///
/// # Errors
/// As for [`read`], and if it is not UTF-8.
pub fn read_text(file: &Path, max: u64) -> io::Result<String> {
    text(read(file, max)?)
}

/// Reads a regular file with a secret of at most `max` bytes as text.
///
/// # Errors
/// As for [`read_secret`], and if it is not UTF-8.
pub fn read_secret_text(file: &Path, max: u64) -> io::Result<String> {
    text(read_secret(file, max)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_within_its_bound_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "12345").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_text(&link, 5).unwrap(), "12345");
        assert_eq!(read(&file, 4).unwrap_err().to_string(), "it is longer than 4 bytes");
        fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 5).unwrap_err().to_string(), "it is not text in UTF-8");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for other in [folder.path(), &pipe, Path::new("/dev/zero")] {
            assert_eq!(read(other, 5).unwrap_err().to_string(), "it is not a regular file", "{}", other.display());
        }
        assert_eq!(read(&folder.path().join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_secret_for_everybody_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "12345").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for name in [&file, &link] {
            for mode in [0o600, 0o400, 0o640, 0o440, 0o660, 0o601] {
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                assert_eq!(read_secret_text(name, 5).unwrap(), "12345", "{mode:o}");
            }
            for mode in [0o644, 0o604, 0o602, 0o444, 0o777] {
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                assert_eq!(Public::cause(&read_secret(name, 5).unwrap_err()), Some(Public(mode)), "{mode:o}");
            }
        }
    }
}
