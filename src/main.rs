//! Arguments and exit codes; everything else is in the library.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use surplusd::cli::output::{self, Output};
use surplusd::cli::plain::Plain;
use surplusd::cli::{certs, check, demo, exit, probe, relay, replay, report, run, set, simulate, status, why};
use surplusd::config::Environment;

/// Charges an electric car from the sun.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done, 1 a replay differs, 2 wrong usage, 69 a needed service does not answer, 70 bug, 74 output cannot be written, 77 no permission, 78 wrong configuration."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(run::Args),
    /// Show what the running daemon does and why, how old its data is, and what is wrong.
    Status(status::Args),
    /// Set the charging mode or the current of mode `fixed`, and show what is decided then.
    Set(set::Args),
    /// Pack what a bug report needs into one file: versions, configuration without secrets, status, log, the last hour of the journal.
    Report(report::Args),
    /// Report all problems in a configuration file, or what the daemon would do with it.
    Check(check::Args),
    /// Make, issue and show a household's own certificates.
    Certs(certs::Args),
    /// Watch surplusd charge a simulated car: no hardware, no broker, no configuration needed.
    Demo(demo::Args),
    /// Show how much the car would have charged on a day, and why.
    Simulate(simulate::Args),
    /// Read and name every register of a charger. Writes nothing.
    Probe(probe::Args),
    /// Make a Pico W this household's relay, and talk to it: provision, list, status, identify, poke.
    Relay(relay::Args),
    /// Feed a recorded run to a fresh controller, which must decide the same again; or show what other settings would have done.
    Replay(replay::Args),
    /// Explain in plain words what decided the current at a given time, with the numbers that went in.
    Why(why::Args),
}

fn main() -> ExitCode {
    let mut out = Output::new(io::stdout());
    let result = match Arguments::try_parse() {
        Ok(arguments) => run_command(arguments.command, &mut out),
        Err(error) => Ok(usage(&error, &mut out)),
    };
    // If output cannot be written, that is the cause: the command's own error would say less.
    let code = match (out.finish(), result) {
        (Err(error), _) => output::unwritable(&error),
        (Ok(()), Ok(code)) => code,
        (Ok(()), Err(Failed { command, code, error })) => {
            // If even this message cannot be written, the exit code still reports the failure.
            let _ = writeln!(Plain(&mut io::stderr()), "surplusd {command}: {error:#}");
            code
        }
    };
    ExitCode::from(code)
}

/// Why a command failed.
struct Failed {
    command: &'static str,
    code: u8,
    error: anyhow::Error,
}

fn run_command(command: Command, out: &mut Output<io::Stdout>) -> Result<u8, Failed> {
    let environment = Environment::from_variables(|name| std::env::var_os(name));
    let failed = |command, code| move |error| Failed { command, code, error };
    match command {
        Command::Run(args) => Ok(run::run(&args, &environment)),
        Command::Status(args) => status::run(&args, out).map_err(|error| failed("status", status::code(&error))(error)),
        Command::Set(args) => set::run(&args, &mut Plain(out)).map_err(|error| failed("set", set::code(&error))(error)),
        Command::Report(args) => {
            report::run(&args, &environment, &mut Plain(out)).map_err(failed("report", exit::OUTPUT))
        }
        Command::Check(args) => {
            let known = surplusd::charger::profile::known();
            let styled = io::stdout().is_terminal();
            check::run(&args, &environment, &known, out, styled).map_err(|error| Failed {
                command: "check",
                code: exit::OUTPUT,
                error: error.into(),
            })
        }
        Command::Certs(args) => {
            certs::run(&args, &mut Plain(out)).map_err(|error| failed("certs", certs::code(&error))(error))
        }
        Command::Demo(args) => Ok(demo::run(&args)),
        Command::Simulate(args) => simulate::run(&args, &environment, out).map_err(|error| Failed {
            command: "simulate",
            code: exit::OUTPUT,
            error: error.into(),
        }),
        Command::Probe(args) => probe::run(&args, &mut Plain(out)).map_err(failed("probe", exit::UNAVAILABLE)),
        Command::Relay(args) => {
            relay::run(&args, &environment, &mut Plain(out)).map_err(failed("relay", exit::UNAVAILABLE))
        }
        Command::Replay(args) => {
            replay::run(&args, &environment, &mut Plain(out)).map_err(failed("replay", exit::UNAVAILABLE))
        }
        Command::Why(args) => why::run(&args, &environment, &mut Plain(out)).map_err(failed("why", exit::UNAVAILABLE)),
    }
}

/// Prints the help or version asked for, or what is wrong with the command line; returns the exit code.
fn usage(error: &clap::Error, out: &mut dyn Write) -> u8 {
    if error.use_stderr() {
        // Without colours, as it repeats arguments. The exit code says it as well.
        let _ = write!(Plain(&mut io::stderr()), "{}", error.render());
        return exit::USAGE;
    }
    let text = error.render();
    // `out` keeps the error, if any.
    let _ = if io::stdout().is_terminal() { write!(out, "{}", text.ansi()) } else { write!(out, "{text}") };
    exit::OK
}
