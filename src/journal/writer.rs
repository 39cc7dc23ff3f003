//! The thread that collects records into batches and stores them.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use control::{Milliamps, Millis, Tick};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::batch::{Builder, FULL};
use super::record::{Head, Record, Start};
use super::store::{Bounds, Store, Trouble, set_aside};
use crate::config::JournalConfig;

/// Capacity of the channel to the thread: about twenty minutes of records, in case the card hangs. When it is full, records are dropped
/// and counted.
const RECORDS: usize = 4_096;
/// How soon the start or the end of a charge is stored.
const SOON: Millis = Millis::from_secs(30);
/// Shortest batch that is stored for the start or the end of a charge, because each batch wears the card.
const SHORTEST: Millis = Millis::from_secs(120);

enum Message {
    Begin(Start, Box<Head>),
    Record(Tick, Record),
}

/// Hands records over to the thread. Never waits.
#[derive(Debug)]
pub struct Journal {
    sender: mpsc::Sender<Message>,
    ended: oneshot::Receiver<()>,
    trouble: watch::Receiver<Option<String>>,
}

impl Journal {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(config: JournalConfig) -> io::Result<Self> {
        let (sender, messages) = mpsc::channel(RECORDS);
        let (end, ended) = oneshot::channel();
        let (told, trouble) = watch::channel(None);
        thread::Builder::new().name("journal".to_owned()).spawn(move || {
            Worker::new(config, told).work(messages);
            let _ = end.send(());
        })?;
        Ok(Self { sender, ended, trouble })
    }

    /// Starts a batch with everything that is in force; `false` if the channel is full.
    pub fn begin(&self, start: Start, head: Head) -> bool {
        self.sender.try_send(Message::Begin(start, Box::new(head))).is_ok()
    }

    /// Hands a record over; `false` if the channel is full.
    pub fn note(&self, tick: Tick, record: Record) -> bool {
        self.sender.try_send(Message::Record(tick, record)).is_ok()
    }

    /// Returns why nothing can be stored at present, in a sentence.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Whether the thread has taken all records.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.sender.capacity() == RECORDS
    }

    /// Stores all records handed over; returns whether that was done within the time limit.
    pub async fn close(self, limit: Duration) -> bool {
        drop(self.sender);
        tokio::time::timeout(limit, self.ended).await.is_ok_and(|ended| ended.is_ok())
    }
}

/// The state of the thread.
struct Worker {
    file: PathBuf,
    bounds: Bounds,
    /// Length of a batch.
    length: Millis,
    store: Option<Store>,
    /// The file is not ours and must not be written, or cannot be replaced.
    foreign: bool,
    /// Why nothing can be stored, as it was logged.
    trouble: watch::Sender<Option<String>>,
    run: Option<i64>,
    batch: Option<Builder>,
    /// When the batch is closed.
    due: Tick,
    /// Number of records in the batch.
    records: u64,
    /// Number of records lost before this batch.
    lost: u64,
}

impl Worker {
    fn new(config: JournalConfig, trouble: watch::Sender<Option<String>>) -> Self {
        let JournalConfig { file, keep, max_bytes, batch } = config;
        let bounds = Bounds { keep, size: max_bytes };
        Self {
            file,
            bounds,
            length: batch,
            store: None,
            foreign: false,
            trouble,
            run: None,
            batch: None,
            due: Tick(0),
            records: 0,
            lost: 0,
        }
    }

    fn work(mut self, mut messages: mpsc::Receiver<Message>) {
        self.opened();
        while let Some(message) = messages.blocking_recv() {
            match message {
                Message::Begin(start, head) => {
                    self.flush();
                    if start == Start::Begin {
                        self.run = None;
                        self.lost = 0;
                    }
                    self.begin(start, *head);
                }
                Message::Record(tick, record) => self.record(tick, &record),
            }
        }
        self.flush();
    }

    fn begin(&mut self, start: Start, head: Head) {
        self.due = head.tick + self.length;
        let start = match start {
            Start::Gap(dropped) => Start::Gap(dropped + self.lost),
            Start::Follows if self.lost > 0 => Start::Gap(self.lost),
            Start::Begin | Start::Follows => start,
        };
        self.batch = Some(Builder::new(start, head));
        self.records = 0;
    }

    fn record(&mut self, tick: Tick, record: &Record) {
        let Some(batch) = &self.batch else { return };
        // Never split a fact from its answer.
        if record.is_fact() && (tick >= self.due || batch.size() >= FULL) {
            let head = batch.now().clone();
            self.flush();
            self.begin(Start::Follows, head);
            self.due = tick + self.length;
        }
        let Some(batch) = &mut self.batch else { return };
        let charges = |batch: &Builder| batch.now().decided.values().any(|d| d.setpoint > Milliamps::ZERO);
        let before = charges(batch);
        batch.push(tick, record);
        self.records += 1;
        if before != charges(batch) {
            self.due = self.due.min((tick + SOON).max(batch.first().0 + SHORTEST));
        }
    }

    /// Stores the batch. A batch that cannot be stored is lost, because memory is limited too.
    fn flush(&mut self) {
        let Some(batch) = self.batch.take().filter(|_| self.records > 0) else { return };
        let stored = self.opened() && self.store(&batch);
        if stored {
            self.lost = 0;
        } else {
            let before = if let Start::Gap(dropped) = batch.start() { dropped } else { 0 };
            self.lost = before.max(self.lost) + self.records;
        }
        self.records = 0;
    }

    fn store(&mut self, batch: &Builder) -> bool {
        let Some(store) = &mut self.store else { return false };
        match store.insert(self.run, batch) {
            Ok(run) => {
                self.run = Some(run);
                self.works();
                true
            }
            Err(trouble) => {
                self.fails(&trouble);
                false
            }
        }
    }

    /// Opens the file if it is not open; returns whether it is open.
    fn opened(&mut self) -> bool {
        if self.foreign {
            return false;
        }
        if self.store.is_none() {
            let first = Store::open(&self.file, self.bounds);
            let opened = match first {
                Err(trouble @ (Trouble::Damaged(_) | Trouble::Newer(_))) => {
                    self.set_aside(&trouble);
                    Store::open(&self.file, self.bounds)
                }
                Ok(_) | Err(Trouble::Foreign | Trouble::Older(_) | Trouble::Sql(_)) => first,
            };
            match opened {
                Ok(store) => self.store = Some(store),
                Err(trouble) => self.fails(&trouble),
            }
        }
        self.store.is_some()
    }

    fn fails(&mut self, trouble: &Trouble) {
        let path = self.file.display();
        match trouble {
            Trouble::Damaged(_) => {
                self.store = None;
                self.run = None;
                self.set_aside(trouble);
            }
            Trouble::Foreign | Trouble::Older(_) => {
                self.foreign = true;
                self.complain(format!("the journal {path} is left alone, and nothing is recorded: {trouble}"));
            }
            Trouble::Newer(_) | Trouble::Sql(_) if self.trouble.borrow().is_none() => {
                self.complain(format!(
                    "the journal {path} cannot be written ({trouble}); charging goes on, history is lost"
                ));
            }
            Trouble::Newer(_) | Trouble::Sql(_) => {}
        }
    }

    fn complain(&self, why: String) {
        warn!(path = %self.file.display(), "{why}");
        self.trouble.send_replace(Some(why));
    }

    fn works(&self) {
        if self.trouble.send_replace(None).is_some() {
            info!(lost = self.lost, "the journal can be written again; {} records are missing", self.lost);
        }
    }

    fn set_aside(&mut self, trouble: &Trouble) {
        let path = self.file.display();
        match set_aside(&self.file) {
            Ok(aside) => {
                warn!(error = %trouble, path = %path, "the journal {path} is set aside as {} and a new one begun: {trouble}", aside.display());
            }
            Err(error) => {
                self.foreign = true;
                self.complain(format!(
                    "the journal {path} cannot be used ({trouble}) nor set aside ({error}); nothing is recorded"
                ));
            }
        }
    }
}
