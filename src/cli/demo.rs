//! (being written)
/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}
/// Runs.
pub fn run(_args: &Args) -> u8 {
    0
}
