//! The daemon's end of the local socket. It runs in separate tasks, which cannot hold up the loop: they take the newest status from a
//! `watch` and pass requests to the loop over a bounded channel.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::protocol::{BadCall, Call, REQUEST_MAX, answer_line, bad_call_line, status_line};
use super::{CONTROL, STATUS};
use crate::clock::Clock;
use crate::model::document::document;
use crate::model::request::{Answer, Origin, Refusal, Request, Setting, Wish};
use crate::model::status::Status;

/// Connections to one socket at a time; further ones are refused.
const CONNECTIONS: usize = 16;
/// Of these, connections of one user: nobody can lock others out alone.
const CONNECTIONS_PER_USER: usize = 4;
/// How long a client may neither send nor read before it is disconnected.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request that the loop has not answered after this time is refused. It may wait some seconds for its turn.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Shortest time between two answers to `watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Pause after an answer, after the end of a connection, and after refusing one: all of this is done on the thread of the loop.
const ANSWER_PAUSE: Duration = Duration::from_millis(20);

/// What a connection needs.
#[derive(Clone)]
struct Door {
    /// `None` on the read-only socket.
    requests: Option<mpsc::Sender<Request>>,
    status: watch::Receiver<Option<Arc<Status>>>,
    clock: Clock,
}

/// The places of one socket, counted for all users together and for each of them.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    users: BTreeMap<u32, Arc<Semaphore>>,
}

/// A place for a connection, free again when it is dropped.
type Place = [OwnedSemaphorePermit; 2];

impl Places {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS)), users: BTreeMap::new() }
    }

    /// Takes a place for a connection of this user; `None` if the user has too many already, or all have together.
    fn take(&mut self, uid: u32) -> Option<Place> {
        self.users.retain(|_, user| user.available_permits() < CONNECTIONS_PER_USER);
        let user = self.users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(CONNECTIONS_PER_USER)));
        let own = Arc::clone(user).try_acquire_owned().ok()?;
        Some([own, Arc::clone(&self.all).try_acquire_owned().ok()?])
    }
}

/// The two sockets. Dropping it closes them and removes their files.
pub struct Server {
    files: Vec<PathBuf>,
    /// End when the server is dropped.
    tasks: JoinSet<()>,
}

impl Server {
    /// Opens both sockets in an existing directory.
    ///
    /// # Errors
    /// If a socket cannot be created there, or another daemon listens on it.
    pub async fn open(
        directory: &Path,
        requests: mpsc::Sender<Request>,
        status: watch::Receiver<Option<Arc<Status>>>,
        clock: Clock,
    ) -> io::Result<Self> {
        let mut server = Self { files: Vec::new(), tasks: JoinSet::new() };
        for (name, mode, requests) in [(CONTROL, 0o660, Some(requests)), (STATUS, 0o666, None)] {
            let file = directory.join(name);
            let listener = bind(&file, mode).await?;
            server.files.push(file);
            server.tasks.spawn(serve(listener, Door { requests, status: status.clone(), clock }));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for file in &self.files {
            // A leftover file is replaced at the next start.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Opens a listening socket. A socket left over by an earlier process is replaced; one in use is not.
async fn bind(file: &Path, mode: u32) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(file).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        // Only a refusal proves that nobody listens: a daemon that hangs has a full queue.
        match UnixStream::connect(file).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(file)?,
            Ok(_) | Err(_) => {
                let text = format!("another surplusd has {}", file.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
            }
        }
    }
    let listener = UnixListener::bind(file)?;
    std::fs::set_permissions(file, Permissions::from_mode(mode))?;
    Ok(listener)
}

async fn serve(listener: UnixListener, door: Door) {
    let mut places = Places::new();
    // The connections end with the socket.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, for instance: try again when other connections may have ended.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        // Whose user cannot be found out shares the places of a user that nobody is.
        let uid = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
        if let Some(place) = places.take(uid) {
            let door = door.clone();
            connections.spawn(async move {
                // An error here means that the client is gone or too slow: nothing to do.
                let _ = door.attend(stream).await;
                tokio::time::sleep(ANSWER_PAUSE).await;
                drop(place);
            });
        } else {
            // A line fits into the buffer of a new connection.
            let _ = stream.try_write(bad_call_line(&BadCall::Crowded).as_bytes());
            drop(stream);
            tokio::time::sleep(ANSWER_PAUSE).await;
        }
    }
}

impl Door {
    async fn attend(mut self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        while let Some(line) = timeout(PATIENCE, next_line(&mut reader)).await?? {
            // What follows the beginning of a line that is too long is no request.
            let is_last = line == Err(BadCall::TooLong);
            let answer = match line.and_then(|line| Call::parse(&line)) {
                Ok(Call::Status) => self.status_line().unwrap_or_else(|bad| bad_call_line(&bad)),
                Ok(Call::Watch) => return self.watch(&mut writer, reader).await,
                Ok(Call::Set { key, value, charger }) => match self.requests.clone() {
                    Some(requests) => answer_line(&set(requests, &key, &value, charger.as_deref()).await),
                    None => bad_call_line(&BadCall::ReadOnly),
                },
                Err(bad) => bad_call_line(&bad),
            };
            timeout(PATIENCE, writer.write_all(answer.as_bytes())).await??;
            if is_last {
                break;
            }
            tokio::time::sleep(ANSWER_PAUSE).await;
        }
        Ok(())
    }

    /// Sends each change until the client disconnects or the loop ends.
    async fn watch(&mut self, writer: &mut OwnedWriteHalf, mut reader: BufReader<OwnedReadHalf>) -> io::Result<()> {
        // Input from a watching client is ignored, and read once at most.
        let mut reads = true;
        loop {
            let line = self.status_line().unwrap_or_else(|bad| bad_call_line(&bad));
            timeout(PATIENCE, writer.write_all(line.as_bytes())).await??;
            let next = async {
                tokio::time::sleep(WATCH_PAUSE).await;
                self.status.changed().await.is_ok()
            };
            tokio::pin!(next);
            let goes_on = loop {
                let mut ignored = [0; 64];
                tokio::select! {
                    changed = &mut next => break changed,
                    read = reader.read(&mut ignored), if reads => match read? {
                        0 => break false,
                        _ => reads = false,
                    },
                }
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn status_line(&mut self) -> Result<String, BadCall> {
        let status = self.status.borrow_and_update().clone().ok_or(BadCall::Starting)?;
        Ok(status_line(&document(&status), self.clock.now().since(status.at).0 / 1_000))
    }
}

/// Reads the next line, without the newline; `None` at the end of the stream. After a line that is too long the connection is of no use.
async fn next_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Result<Vec<u8>, BadCall>>> {
    let mut line = Vec::new();
    let limit = REQUEST_MAX as u64 + 1;
    (&mut *reader).take(limit).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > REQUEST_MAX {
        return Ok(Some(Err(BadCall::TooLong)));
    }
    Ok(Some(Ok(line)))
}

/// Passes a setting to the loop and waits for its answer.
async fn set(requests: mpsc::Sender<Request>, key: &str, value: &str, charger: Option<&str>) -> Answer {
    let setting = Setting::parse(charger, key, value.as_bytes())?;
    let (reply, answer) = oneshot::channel();
    let request = Request { wish: Wish::Set(setting), origin: Origin::Socket, reply: Some(reply) };
    let asked = async {
        requests.send(request).await.map_err(|_| Refusal::Ending)?;
        answer.await.unwrap_or(Err(Refusal::Overtaken))
    };
    timeout(ANSWER_MAX, asked).await.unwrap_or(Err(Refusal::Busy))
}

#[cfg(test)]
mod tests;
