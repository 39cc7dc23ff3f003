//! Where log lines go: to journald with fields and priorities if it listens, otherwise to standard error.

use std::io::IsTerminal;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

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
        // The message already contains the values of the fields; journald keeps both.
        let sentence =
            debug_fn(|out, field, value| if field.name() == "message" { write!(out, "{value:?}") } else { Ok(()) });
        let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
        let text = text.fmt_fields(sentence);
        let _ = tracing_subscriber::registry().with(text.with_filter(targets)).try_init();
    }
    if let Some(Err(error)) = parsed {
        tracing::warn!(%error, "{VARIABLE} is not understood ({error}); logging as usual");
    }
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
