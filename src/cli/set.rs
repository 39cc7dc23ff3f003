//! `surplusd set`: changes what the running daemon does, and prints what is decided then.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::exit;
use crate::api::client::Client;
use crate::api::protocol::{Call, Reply};

/// Sets the charging mode or the current of mode `fixed`, and prints what is decided then.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(
    after_help = "What is set survives a restart. The exit code is 0 if it is set, 2 if it cannot be set, 69 if the daemon does not \
                  run or has no time, 77 if this user may not set it."
)]
pub struct Args {
    /// Setting to change
    #[command(subcommand)]
    pub what: What,
    /// The daemon's socket (without it: that of the installed service)
    #[arg(long, value_name = "FILE", global = true)]
    pub socket: Option<PathBuf>,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum What {
    /// Charging mode: off, solar, slow, slow+solar, fast or fixed
    Mode {
        /// The mode
        mode: String,
        /// Only for this charger (without it: for all)
        #[arg(long, value_name = "NAME")]
        charger: Option<String>,
    },
    /// Current of mode fixed, in amperes from 6 to 32
    Current {
        /// Amperes, such as 10 or 12.5
        amperes: String,
        /// Only for this charger (without it: for all)
        #[arg(long, value_name = "NAME")]
        charger: Option<String>,
    },
    /// The same for one charger: `surplusd set charger carport mode fast`
    Charger {
        /// Name of the charger in the configuration file
        name: String,
        /// Setting to change
        #[command(subcommand)]
        what: OfCharger,
    },
}

/// The settings of one charger.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum OfCharger {
    /// Charging mode of this charger
    Mode {
        /// off, solar, slow, slow+solar, fast or fixed
        mode: String,
    },
    /// Current of this charger in mode fixed
    Current {
        /// Amperes, such as 10 or 12.5
        amperes: String,
    },
}

impl What {
    fn call(self) -> Call {
        let (key, value, charger) = match self {
            Self::Mode { mode, charger } => ("mode", mode, charger),
            Self::Current { amperes, charger } => ("current", amperes, charger),
            Self::Charger { name, what: OfCharger::Mode { mode } } => ("mode", mode, Some(name)),
            Self::Charger { name, what: OfCharger::Current { amperes } } => ("current", amperes, Some(name)),
        };
        Call::Set { key: key.to_owned(), value, charger }
    }
}

/// The daemon refused.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refused {
    code: String,
    text: String,
}

/// Sends the request to the daemon; returns the exit code.
///
/// # Errors
/// If the daemon does not answer or refuses, or the output cannot be written to.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut client = Client::connect(args.socket.as_deref(), false)?;
    match client.ask(&args.what.clone().call())? {
        Reply::Done(text) => {
            writeln!(out, "{text}")?;
            Ok(exit::OK)
        }
        Reply::Refused { code, text } => Err(Refused { code, text }.into()),
        Reply::Status { .. } => anyhow::bail!("the daemon gave an unexpected kind of answer"),
    }
}

/// The exit code for an error of [`run`].
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Refused { code, .. }) if code == "read-only" => exit::PERMISSION,
        Some(Refused { code, .. }) if Reply::is_wrong(code) => exit::USAGE,
        Some(_) | None => super::status::code(error),
    }
}
