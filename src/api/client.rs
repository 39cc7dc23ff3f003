//! The client end of the local socket, for commands that send a request and wait for the answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Call, Reply};
use super::{CONTROL, DIRECTORY, STATUS};

/// The daemon answers within this time, or it hangs.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Longest answer that is read, in bytes. A status with fifteen chargers has about 20 kB.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No process listens on the socket.
    #[error(
        "surplusd is not running here: nothing listens on {0}. Start it with `sudo systemctl start surplusd`; `journalctl -u surplusd -e` says why it \
         ended"
    )]
    NotRunning(PathBuf),
    /// The daemon ended during the conversation.
    #[error("surplusd has ended: `journalctl -u surplusd -e` says why")]
    Ended,
    /// This user may not use the socket.
    #[error(
        "this user may not use {0}: use sudo, or join the group surplusd (`sudo usermod -aG surplusd $USER`, then log in again)"
    )]
    Denied(PathBuf),
    /// The socket is open, but no answer comes.
    #[error("surplusd has {0} open but does not answer: see `journalctl -u surplusd -e`")]
    Silent(PathBuf),
    /// The answer is not one of the daemon's.
    #[error(
        "the program that answers on {0} is not this version of surplusd: use the surplusd that belongs to the daemon"
    )]
    Foreign(PathBuf),
    /// Anything else.
    #[error("{file} cannot be used: {error}")]
    Other {
        /// The socket.
        file: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
}

/// A conversation with the daemon.
#[derive(Debug)]
pub struct Client {
    file: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the given socket, or by default to the control socket of the installed service. If access to that one is denied and the
    /// command only `shows`, connects to the status socket, which everybody may use.
    pub fn connect(socket: Option<&Path>, shows: bool) -> Result<Self, NoAnswer> {
        let control = socket.map_or_else(|| Path::new(DIRECTORY).join(CONTROL), Path::to_path_buf);
        match Self::open(&control) {
            Err(NoAnswer::Denied(_)) if shows && socket.is_none() => Self::open(&Path::new(DIRECTORY).join(STATUS)),
            result => result,
        }
    }

    fn open(file: &Path) -> Result<Self, NoAnswer> {
        let told = |error: io::Error| {
            let (file, is) = (file.to_owned(), |kind| error.kind() == kind);
            if is(io::ErrorKind::NotFound) || is(io::ErrorKind::ConnectionRefused) {
                NoAnswer::NotRunning(file)
            } else if is(io::ErrorKind::PermissionDenied) {
                NoAnswer::Denied(file)
            } else {
                NoAnswer::Other { file, error }
            }
        };
        let stream = UnixStream::connect(file).map_err(told)?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(told)?;
        stream.set_write_timeout(Some(ANSWER_MAX)).map_err(told)?;
        Ok(Self { file: file.to_owned(), stream: BufReader::new(stream) })
    }

    /// Sends a request; [`Self::answer`] returns the answer.
    pub fn say(&mut self, call: &Call) -> Result<(), NoAnswer> {
        let stream = self.stream.get_mut();
        stream.write_all(call.line().as_bytes()).map_err(|error| self.failed(error))
    }

    /// Waits for the next answer.
    pub fn answer(&mut self) -> Result<Reply, NoAnswer> {
        let mut line = String::new();
        match (&mut self.stream).take(ANSWER_BYTES_MAX).read_line(&mut line) {
            Ok(0) => Err(NoAnswer::Ended),
            Ok(_) => Reply::parse(&line).ok_or_else(|| NoAnswer::Foreign(self.file.clone())),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sends a request and waits for the answer.
    pub fn ask(&mut self, call: &Call) -> Result<Reply, NoAnswer> {
        self.say(call)?;
        self.answer()
    }

    fn failed(&self, error: io::Error) -> NoAnswer {
        let file = self.file.clone();
        let is = |kind| error.kind() == kind;
        if is(io::ErrorKind::WouldBlock) || is(io::ErrorKind::TimedOut) {
            NoAnswer::Silent(file)
        } else if is(io::ErrorKind::BrokenPipe) || is(io::ErrorKind::ConnectionReset) {
            NoAnswer::Ended
        } else if is(io::ErrorKind::InvalidData) {
            NoAnswer::Foreign(file)
        } else {
            NoAnswer::Other { file, error }
        }
    }
}
