//! The configuration file: strict, versioned, every finding with file, line, column, reason and remedy.

mod domain;

pub use domain::{
    ChargerSetup, ClientAuth, Config, InputConfig, LinkConfig, MqttConfig, PublishConfig, Secret, TlsConfig, Unit,
};
