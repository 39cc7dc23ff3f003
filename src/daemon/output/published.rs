//! The retained topics of ours, remembered across restarts: those of a charger that is gone, or of an earlier base topic, would stay at
//! the broker for ever and show what is long over. They are deleted there, and forgotten when the broker has confirmed it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::daemon::state::disk::replace;
use crate::mqtt::link::Link;

/// A larger file is none of ours: 512 topics of 64 bytes.
const FILE_MAX: u64 = 32 * 1024;

/// See the module. The file stands beside the state file, `state-topics` beside `state.json`, and has one topic a line.
#[derive(Debug)]
pub(super) struct Published {
    path: PathBuf,
    current: BTreeSet<String>,
    /// To be deleted at the broker.
    gone: BTreeSet<String>,
    /// What the file says.
    stored: String,
    writing: Option<JoinHandle<bool>>,
}

impl Published {
    /// What an earlier run has published, from beside the state file.
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

    /// These are all topics of ours; what else there was is deleted.
    pub(super) fn set(&mut self, topics: BTreeSet<String>, link: &Link) {
        if topics != self.current {
            let before = std::mem::replace(&mut self.current, topics);
            self.gone.extend(before);
            self.gone.retain(|topic| !self.current.contains(topic));
            self.repeat(link);
        }
    }

    /// The connection is another one, which knows nothing of what is to be deleted.
    pub(super) fn repeat(&self, link: &Link) {
        for topic in &self.gone {
            if let Err(error) = link.clear_state(topic) {
                debug!(%error, topic, "cannot be deleted");
            }
        }
    }

    /// Takes in what was deleted, and stores what has changed. A file that is still being written is written again at a later turn.
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

    /// Waits for what is being stored.
    pub(super) async fn close(self) {
        if let Some(writing) = self.writing {
            let _ = writing.await; // whether it could be stored was said
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
