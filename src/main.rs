//! Arguments and exit codes; everything else is in the library.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use surplusd::cli::{certs, check, demo, exit, probe, relay, replay, run, simulate, why};
use surplusd::config::Environment;

/// Charges an electric car from the sun.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done, 1 a replay differs, 2 wrong usage, 69 a needed service does not answer, 70 bug, 77 no permission, 78 wrong configuration."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(run::Args),
    /// Say all that is wrong with a configuration file, or what would be done with it.
    Check(check::Args),
    /// Make, issue and show a household's own certificates.
    Certs(certs::Args),
    /// Watch it charge a simulated car: no hardware, no broker, no configuration needed.
    Demo(demo::Args),
    /// Show what the car would have got out of a day, and why.
    Simulate(simulate::Args),
    /// Read and name every register of a charger. Writes nothing.
    Probe(probe::Args),
    /// Make a Pico W this household's relay, and speak to it: provision, list, status, identify, poke.
    Relay(relay::Args),
    /// Feed what was recorded to a fresh controller: it must decide the same again. Or see what other settings would have done.
    Replay(replay::Args),
    /// Say in plain words what decided the current at a time, with the numbers that went in.
    Why(why::Args),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let environment = Environment::from_variables(|name| std::env::var_os(name));
    let code =
        match arguments.command {
            Command::Run(args) => run::run(&args, &environment),
            Command::Check(args) => {
                let known = surplusd::charger::profile::known();
                let styled = io::stdout().is_terminal();
                check::run(&args, &environment, &known, &mut io::stdout().lock(), styled).unwrap_or(exit::BUG)
            }
            Command::Certs(args) => certs::run(&args, &mut io::stdout().lock()).unwrap_or_else(|error| {
                failed("certs", &error);
                exit::USAGE
            }),
            Command::Demo(args) => demo::run(&args),
            Command::Simulate(args) => simulate::run(&args, &environment),
            Command::Probe(args) => {
                return probe::run(&args).unwrap_or_else(|error| {
                    let _ = writeln!(io::stderr(), "surplusd probe: {error:#}");
                    ExitCode::from(exit::UNAVAILABLE)
                });
            }
            Command::Relay(args) => relay::run(&args, &environment, &mut io::stdout().lock())
                .unwrap_or_else(|error| failed("relay", &error)),
            Command::Replay(args) => replay::run(&args, &environment, &mut io::stdout().lock())
                .unwrap_or_else(|error| failed("replay", &error)),
            Command::Why(args) => {
                why::run(&args, &environment, &mut io::stdout().lock()).unwrap_or_else(|error| failed("why", &error))
            }
        };
    ExitCode::from(code)
}

/// Says why a command came to nothing.
fn failed(command: &str, error: &anyhow::Error) -> u8 {
    let _ = writeln!(io::stderr(), "surplusd {command}: {error:#}");
    exit::UNAVAILABLE
}
