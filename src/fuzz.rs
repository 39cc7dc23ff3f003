//! Fuzz targets: every decoder that meets bytes from outside, with what must hold whatever the bytes are.
//!
//! A target takes any bytes and panics if the decoder does, if its result is out of bounds, or if a decoded value changes when it is encoded
//! and decoded again. `fuzz/` runs the targets with libFuzzer (`scripts/fuzz`); [`tests`] runs them in the fast suite, over the same seeds
//! and over mutations of these. The module is compiled for these two only. A decoder whose parts are private has its target in a module
//! `fuzz` of its own, beside it.
//!
//! Nothing reads UF2 files: `surplusd` only writes them, and the boot ROM of the Pico reads them. What is in them is read by the firmware,
//! with the target `relay_settings`.

mod api;
mod files;
mod journal;
mod mqtt;
pub(crate) mod pieces;
mod relay;
#[cfg(test)]
mod tests;

pub use crate::charger::bus::fuzz::{rtu as modbus_rtu, tcp as modbus_tcp};
pub use crate::cli::replay::fuzz::replay as journal_replay;
pub use crate::cli::report::fuzz::mask as report_mask;
pub use crate::config::fuzz::{file as config, pem as config_pem};
pub use crate::daemon::state_fuzz::file as state_file;
pub use crate::sim::fuzz::{line as sim_line, packet as sim_packet};
pub use crate::tls::fuzz::{certificate, pem};
pub use api::{call as control_call, reply as control_reply};
pub use files::{charger_profile, simulate_setup, trace};
pub use journal::batch as journal_batch;
pub use mqtt::{
    command as mqtt_command, inputs as mqtt_inputs, json as mqtt_json, packet as mqtt_packet, payload as mqtt_payload,
};
pub use relay::{draft as relay_draft, frame as relay_frame, message as relay_message, settings as relay_settings};

/// A target: panics if something is wrong.
pub type Target = fn(&[u8]);

/// A table of targets by their names.
macro_rules! table {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}

/// All targets by name. Each has a file in `fuzz/targets` and seeds in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = table![
    certificate,
    charger_profile,
    config,
    config_pem,
    control_call,
    control_reply,
    journal_batch,
    journal_replay,
    modbus_rtu,
    modbus_tcp,
    mqtt_command,
    mqtt_inputs,
    mqtt_json,
    mqtt_packet,
    mqtt_payload,
    pem,
    relay_draft,
    relay_frame,
    relay_message,
    relay_settings,
    report_mask,
    sim_line,
    sim_packet,
    simulate_setup,
    state_file,
    trace,
];
