//! Standard output of a command that prints and exits: a closed pipe ends it quietly; a full disk is reported and has its own exit code.

use std::io::{self, Write};

use super::exit;
use super::plain::Plain;

/// Standard output. Once the reader of a pipe has gone, all further output is discarded, so that the command still ends with its own exit
/// code. Any other error is kept for [`Output::finish`].
#[derive(Debug)]
pub struct Output<W> {
    inner: W,
    closed: bool,
    failure: Option<io::Error>,
}

impl<W: Write> Output<W> {
    /// Writes to `inner`.
    pub const fn new(inner: W) -> Self {
        Self { inner, closed: false, failure: None }
    }

    /// Flushes the buffer; returns the first error of any write so far, except a closed pipe.
    ///
    /// # Errors
    /// If anything could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        // The error is kept in `self.failure` and returned below.
        let _ = self.flush();
        self.failure.map_or(Ok(()), Err)
    }

    fn kept<T>(&mut self, result: io::Result<T>, discarded: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(discarded)
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let copy = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                self.failure.get_or_insert(copy);
                Err(error)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let result = self.inner.write(bytes);
        self.kept(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let result = self.inner.flush();
        self.kept(result, ())
    }
}

/// Reports that standard output cannot be written to, unless only the reader of a pipe has gone; returns the exit code.
pub fn unwritable(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return exit::OK;
    }
    // If even this message cannot be written, the exit code still reports the failure.
    let _ = writeln!(Plain(&mut io::stderr()), "surplusd: standard output cannot be written to: {error}");
    exit::OUTPUT
}

/// Whether a write failed because of the disk and not because of the file's name.
pub fn is_disk_error(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    // EIO has no `ErrorKind`.
    let input_output = error.raw_os_error() == Some(5);
    input_output || matches!(error.kind(), E::StorageFull | E::QuotaExceeded | E::FileTooLarge | E::WriteZero)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts `room` bytes, then fails.
    struct Cramped {
        room: usize,
        error: io::ErrorKind,
    }

    impl Write for Cramped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(self.error.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let mut out = Output::new(Cramped { room: 3, error: io::ErrorKind::BrokenPipe });
        for _ in 0..3 {
            writeln!(out, "a line").unwrap();
        }
        out.finish().unwrap();
    }

    #[test]
    fn a_full_disk_is_said_also_where_the_command_did_not_notice() {
        let mut out = Output::new(Cramped { room: 3, error: io::ErrorKind::StorageFull });
        let _ = writeln!(out, "a line");
        assert_eq!(out.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        let buffered = Output::new(io::BufWriter::new(Cramped { room: 0, error: io::ErrorKind::StorageFull }));
        let mut out = buffered;
        writeln!(out, "a line").unwrap();
        assert_eq!(out.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
