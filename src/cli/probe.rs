//! probe

/// stub
#[derive(Debug, clap::Args)]
pub struct Args {}
/// stub
pub fn run(_: &Args) -> u8 {
    0
}
