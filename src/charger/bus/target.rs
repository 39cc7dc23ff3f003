//! The target of a line.

use std::collections::BTreeMap;
use std::fmt;

use tokio::sync::mpsc;

use crate::charger::codec::{Operation, Request};
use crate::charger::profile::LinkDefaults;
use crate::config::LinkConfig;
use crate::relay::RelayCall;

/// The target of a line, and its settings.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Which line.
    pub(crate) link: LinkConfig,
    /// Its settings.
    pub(crate) defaults: LinkDefaults,
    /// The read that precedes the first write to a unit, if nothing has been read before.
    pub(crate) first_read: Operation,
    /// The setpoint register of each unit. A write to it before anything was read sets a low current, and does not wait for a read.
    pub(crate) setpoints: BTreeMap<u8, u16>,
    /// Channel to the relays; `None` if there is none.
    pub(crate) relays: Option<mpsc::Sender<RelayCall>>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link {
            LinkConfig::Serial { path } => write!(f, "{}", path.display()),
            LinkConfig::Tcp { host, port } => write!(f, "{host}:{port}"),
            LinkConfig::Relay { id } => write!(f, "relay {id}"),
        }
    }
}

impl Target {
    /// Returns whether a request sets a unit's current.
    pub(crate) fn sets_current(&self, request: Request) -> bool {
        let setpoint = self.setpoints.get(&request.unit);
        matches!(request.op, Operation::WriteSingle { addr, .. } if setpoint == Some(&addr))
    }
}
