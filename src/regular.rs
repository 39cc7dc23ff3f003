//! Reads files that a user names, whole and up to a size limit: never a pipe that nobody writes to, nor a device that does not end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

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

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// As for [`open`], and if it is longer.
pub fn read(file: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(file)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
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
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8");
    String::from_utf8(read(file, max)?).map_err(not_text)
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
}
