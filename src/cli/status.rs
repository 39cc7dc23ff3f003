//! `surplusd status`: shows what the running daemon does, and why.

pub(crate) mod page;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use super::exit;
use super::plain::{Plain, plain};
use super::screen::{Screen, Size, cut};
use crate::api::client::{Client, NoAnswer};
use crate::api::protocol::{Call, Reply};
use crate::model::document::json_text;
use page::page;

/// Shows what the running daemon does and why, how old its data is, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(
    after_help = "Without --watch the exit code is 0 if the daemon answers, 69 if it does not run, 77 if this user may not ask it."
)]
pub struct Args {
    /// Print the JSON document of the MQTT topic `state` (docs/state.md), one line each time
    #[arg(long)]
    pub json: bool,
    /// Keep running: redraw in place on a terminal, otherwise print again after each change
    #[arg(long)]
    pub watch: bool,
    /// The daemon's socket (without it: that of the installed service)
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
}

/// Asks the daemon and prints its answer; returns the exit code.
///
/// # Errors
/// If the output cannot be written to, or the daemon does not answer.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut client = Client::connect(args.socket.as_deref(), true)?;
    client.say(if args.watch { &Call::Watch } else { &Call::Status })?;
    if args.watch && !args.json && io::stdout().is_terminal() {
        return redraw(&mut client);
    }
    let mut shown = None;
    loop {
        let (document, age_s) = status(client.answer()?)?;
        if args.json {
            writeln!(out, "{}", json_text(&document))?;
        } else {
            let text = page(&document, age_s).join("\n");
            if shown.as_ref() != Some(&text) {
                writeln!(Plain(out), "{}{text}", if shown.is_some() { "\n" } else { "" })?;
            }
            shown = Some(text);
        }
        out.flush()?;
        if !args.watch {
            return Ok(exit::OK);
        }
    }
}

/// Redraws the page until the daemon ends or Ctrl-C is pressed.
fn redraw(client: &mut Client) -> anyhow::Result<u8> {
    let mut screen = Screen::new(io::stdout());
    loop {
        let (document, age_s) = status(client.answer()?)?;
        let size = Size::of_stdout();
        let width = size.columns.saturating_sub(1).max(1);
        let mut lines: Vec<_> = page(&document, age_s).iter().map(|line| cut(&plain(line), width)).collect();
        // Cut at the bottom: the decision is at the top.
        lines.truncate(size.rows.saturating_sub(1).max(1));
        screen.draw(&lines, size)?;
    }
}

fn status(reply: Reply) -> anyhow::Result<(Value, u64)> {
    match reply {
        Reply::Status { document, age_s } => Ok((document, age_s)),
        Reply::Refused { text, .. } => anyhow::bail!("{text}"),
        Reply::Done(text) => Err(anyhow::anyhow!("{text}")).context("the daemon gave an unexpected kind of answer"),
    }
}

/// The exit code for an error of [`run`].
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(NoAnswer::Denied(_)) => exit::PERMISSION,
        Some(_) | None => exit::UNAVAILABLE,
    }
}
