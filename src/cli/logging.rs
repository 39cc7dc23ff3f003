//! Where log lines go: to journald with fields and priorities if it listens, otherwise to standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::visible;

/// Overrides what is logged: a level (`debug`), or levels by target (`surplusd=debug,rustls=info`).
pub const VARIABLE: &str = "SURPLUSD_LOG";

/// Starts logging for the lifetime of the process. `default` is the level of surplusd's own lines unless [`VARIABLE`] overrides it.
///
/// Only the first call in a process has an effect.
pub fn start(default: Level) {
    let wish = std::env::var(VARIABLE).ok();
    let parsed = wish.as_ref().map(|wish| wish.parse::<Targets>());
    let targets = match &parsed {
        Some(Ok(targets)) => targets.clone(),
        Some(Err(_)) | None => usual(default),
    };
    if under_journald()
        && let Ok(journal) = tracing_journald::layer()
    {
        // The levels of syslog; tracing-journald itself would map INFO to "notice".
        let journal = journal.with_field_prefix(None).with_syslog_identifier("surplusd".to_owned());
        let journal = journal.with_priority_mappings(PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        });
        let _ = tracing_subscriber::registry().with(journal.with_filter(targets)).try_init();
    } else {
        let colours = std::io::stderr().is_terminal();
        let text = tracing_subscriber::registry().with(lines(std::io::stderr, colours).with_filter(targets));
        let _ = text.try_init();
    }
    if let Some(Err(error)) = parsed {
        tracing::warn!(%error, "{VARIABLE} is not understood ({error}); logging as usual");
    }
}

/// One line for each event, without its fields: the message already contains their values; journald keeps both. Messages quote files,
/// topics and other programs, so nothing in them may act on a terminal or begin a line of its own.
fn lines<S, W>(writer: W, colours: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    let sentence =
        debug_fn(
            |out, field, value| {
                if field.name() == "message" { out.write_str(&visible(&format!("{value:?}"))) } else { Ok(()) }
            },
        );
    tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).with_target(false).fmt_fields(sentence)
}

fn usual(default: Level) -> Targets {
    // The libraries warn about things that this program notices too and reports better.
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("surplusd", default)
        .with_target("tokio_modbus", LevelFilter::OFF)
        .with_target("rumqttc", LevelFilter::OFF)
}

/// systemd sets `JOURNAL_STREAM` to the device and inode of the journal's socket; it is valid only if standard error is that socket.
fn under_journald() -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(standard_error) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", standard_error.dev(), standard_error.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let log = std::fs::File::create(&file).unwrap();
        let subscriber = tracing_subscriber::registry().with(lines(log, false));
        tracing::subscriber::with_default(subscriber, || {
            let from_elsewhere = "a\u{1b}[2J\nERROR b\u{202e}\u{9b}c";
            tracing::warn!(topic = from_elsewhere, "ignoring {from_elsewhere}: grün");
        });
        let said = std::fs::read_to_string(&file).unwrap();
        assert!(said.ends_with("WARN ignoring a\\u{1b}[2J\\u{a}ERROR b\\u{202e}\\u{9b}c: grün\n"), "{said:?}");
        assert_eq!(said.lines().count(), 1, "{said:?}");
    }
}
