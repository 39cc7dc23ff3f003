//! Remembers our retained topics across restarts. The topics of a removed charger or of an earlier base topic would stay at the broker
//! indefinitely and show outdated values. They are deleted there, and forgotten once the broker has confirmed it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::config::visible;
use crate::daemon::state::disk::replace;
use crate::mqtt::link::Link;

/// Largest file that is read: 512 topics of 64 bytes. A larger one is not ours.
const FILE_MAX: u64 = 32 * 1024;

/// See the module. The file is next to the state file (`state-topics` next to `state.json`) and has one topic per line.
#[derive(Debug)]
pub(super) struct Published {
    path: PathBuf,
    current: BTreeSet<String>,
    /// Topics still to be deleted at the broker.
    gone: BTreeSet<String>,
    /// The contents of the file.
    stored: String,
    writing: Option<JoinHandle<bool>>,
}

impl Published {
    /// Loads what an earlier run published, from the file next to the state file.
    pub(super) fn load(state_file: &Path) -> Self {
        let name = state_file.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
        let path = state_file.with_file_name(format!("{name}-topics"));
        let stored = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                warn!(%error, path = %path.display(), "the list of published topics cannot be read ({error}); going on without it");
                String::new()
            }
        };
        let current = stored.lines().map(str::to_owned).collect();
        Self { path, current, gone: BTreeSet::new(), stored, writing: None }
    }

    /// Sets all our current topics; any other topic published before is deleted.
    pub(super) fn set(&mut self, topics: BTreeSet<String>, link: &Link) {
        if topics != self.current {
            let before = std::mem::replace(&mut self.current, topics);
            self.gone.extend(before);
            self.gone.retain(|topic| !self.current.contains(topic));
            self.repeat(link);
        }
    }

    /// Repeats the deletions on a new connection, which knows nothing of them.
    pub(super) fn repeat(&self, link: &Link) {
        for topic in &self.gone {
            if let Err(error) = link.clear_state(topic) {
                debug!(%error, topic = visible(topic), "cannot be deleted");
            }
        }
    }

    /// Forgets topics whose deletion was confirmed, and stores what has changed. While the file is still being written, a change waits for
    /// a later turn.
    pub(super) fn turn(&mut self, link: &Link) {
        for topic in link.take_cleared() {
            self.gone.remove(&topic);
        }
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let text: String = self.current.union(&self.gone).flat_map(|topic| [topic.as_str(), "\n"]).collect();
        if text != self.stored {
            self.stored.clone_from(&text);
            let path = self.path.clone();
            self.writing = Some(tokio::task::spawn_blocking(move || {
                let result = replace(&path, &text);
                if let Err(error) = &result {
                    debug!(%error, "the list of published topics cannot be stored");
                }
                result.is_ok()
            }));
        }
    }

    /// Waits for a write in progress.
    pub(super) async fn close(self) {
        if let Some(writing) = self.writing {
            let _ = writing.await; // a failure was already logged
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_small_regular_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(Published::load(&path).current.is_empty());
        std::fs::write(path.with_file_name("state-topics"), "a/state\na/status\n").unwrap();
        assert_eq!(Published::load(&path).current, ["a/state", "a/status"].map(str::to_owned).into());
        std::fs::write(path.with_file_name("state-topics"), [0xff; 10]).unwrap();
        assert!(Published::load(&path).current.is_empty());
        std::fs::write(path.with_file_name("state-topics"), " ".repeat(1 << 20)).unwrap();
        assert!(Published::load(&path).stored.len() <= 32 * 1024);
        std::fs::remove_file(path.with_file_name("state-topics")).unwrap();
        std::fs::create_dir(path.with_file_name("state-topics")).unwrap();
        assert!(Published::load(&path).current.is_empty());
    }
}
