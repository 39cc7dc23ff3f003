//! The subcommands, one file each. Only these modules print.

pub mod certs;
pub mod check;
pub mod demo;
pub mod exit;
pub mod logging;
pub mod output;
pub mod plain;
pub mod probe;
pub mod relay;
pub mod replay;
pub mod report;
pub mod run;
mod screen;
pub mod set;
pub mod simulate;
pub mod status;
mod when;
pub mod why;
