//! `surplusd run`: the daemon. Reads the configuration, turns signals into requests to the main loop, and the loop's end into an exit code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{Level, debug, error, info, warn};

use super::{exit, logging};
use crate::api::server::Server;
use crate::charger::profile;
use crate::clock::Clock;
use crate::config::{self, Config, Environment, Severity};
use crate::daemon::{self, Ended, Wiring};
use crate::model::request::{Origin, Request, Wish};
use crate::model::status::Status;

/// Capacity of the channel for requests from signals and the socket to the main loop; senders wait when it is full.
const REQUESTS: usize = 16;

/// Arguments of `run`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/surplusd/surplusd.toml")]
    pub config: PathBuf,
}

/// Runs until a signal ends it; returns the exit code.
pub fn run(args: &Args, environment: &Environment) -> u8 {
    logging::start(Level::INFO);
    forbid_core_dumps();
    let Some(config) = read(&args.config, environment) else { return exit::CONFIGURATION };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "failed to start ({error})");
            return exit::BUG;
        }
    };
    let code = runtime.block_on(serve(config, args.config.clone(), environment.clone()));
    // A pending DNS lookup of the broker's name may hang for half a minute; its result is no longer needed.
    runtime.shutdown_background();
    code
}

/// Keeps password and key out of core dumps. The unit does the same, and its filter may forbid this call.
fn forbid_core_dumps() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        debug!(%error, "core dumps cannot be forbidden from here ({error})");
    }
}

/// Reads the configuration file and logs each problem in a line of its own.
fn read(path: &Path, environment: &Environment) -> Option<Config> {
    let known = profile::known();
    let loaded = config::load(path, environment, &known);
    for finding in &loaded.findings {
        match finding.severity {
            Severity::Error => error!("{finding}"),
            Severity::Warning => warn!("{finding}"),
        }
    }
    if loaded.failed() {
        error!("the configuration cannot be used; `surplusd check --config {}` shows more", path.display());
    }
    loaded.config
}

async fn serve(config: Config, path: PathBuf, environment: Environment) -> u8 {
    let (sender, requests) = mpsc::channel(REQUESTS);
    let (status, shown) = watch::channel(None);
    let clock = Clock::start(1);
    let _server = open_sockets(&environment, sender.clone(), shown, clock).await;
    let wiring = Wiring { clock, requests, status };
    let signals = follow_signals(sender, path, environment);
    let ended = tokio::select! {
        ended = daemon::run(config, wiring) => ended,
        error = signals => Err(error),
    };
    match ended {
        Ok(Ended::Asked { .. }) => exit::OK,
        Ok(Ended::Broken { .. }) => exit::BUG,
        Err(error) => {
            error!(%error, "failed to run ({error})");
            exit::BUG
        }
    }
}

/// Opens the sockets of `surplusd status` and `set`. Charging goes on without them.
async fn open_sockets(
    environment: &Environment,
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Option<Arc<Status>>>,
    clock: Clock,
) -> Option<Server> {
    let Some(directory) = &environment.runtime_directory else {
        info!("RUNTIME_DIRECTORY is not set, so `surplusd status` and `set` cannot ask this process");
        return None;
    };
    let opened = Server::open(directory, requests, status, clock).await;
    let failed = |error: std::io::Error| {
        let directory = directory.display();
        warn!(%error, %directory, "the sockets in {directory} cannot be opened ({error}): `surplusd status` and `set` do not work");
    };
    opened.map_err(failed).ok()
}

/// `SIGTERM` and `SIGINT` stop the daemon, `SIGHUP` reloads the configuration; an invalid file leaves the old one in force. Returns only if
/// signals cannot be received.
async fn follow_signals(sender: mpsc::Sender<Request>, path: PathBuf, environment: Environment) -> std::io::Error {
    let signals =
        || Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?));
    let (mut terminate, mut interrupt, mut hangup) = match signals() {
        Ok(signals) => signals,
        Err(error) => return error,
    };
    loop {
        let wish = tokio::select! {
            _ = terminate.recv() => Wish::Stop,
            _ = interrupt.recv() => Wish::Stop,
            _ = hangup.recv() => {
                let Some(config) = read(&path, &environment) else {
                    warn!("going on with the configuration in force");
                    continue;
                };
                Wish::Reload(Box::new(config))
            }
        };
        if matches!(wish, Wish::Stop) {
            info!("asked to stop");
        }
        if sender.send(Request { wish, origin: Origin::Process, reply: None }).await.is_err() {
            // The loop has already ended and will return its result.
            std::future::pending::<()>().await;
        }
    }
}
