//! The broker's name and its addresses: which one to connect to, and whether it is in the household's own network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::MqttConfig;
use crate::mqtt::trouble::{DownKind, Trouble};

#[cfg(test)]
mod tests;

/// Time limit for looking up the broker's name.
const LOOKUP: Duration = Duration::from_secs(8);
/// How long an address may take to accept a connection before it is passed over for a later one that does: several times the round trip to
/// any broker.
const PATIENCE: Duration = Duration::from_secs(1);

/// Returns the addresses of the broker's name, at least one, in the order of the system's resolver.
pub(super) async fn resolve(mqtt: &MqttConfig) -> Result<Vec<SocketAddr>, Trouble> {
    let unknown = |detail: String| Trouble { kind: DownKind::NameNotFound, detail };
    let found = timeout(LOOKUP, lookup_host((mqtt.host.as_str(), mqtt.port))).await;
    let found = found.map_err(|_| unknown("the name was not resolved in time".to_owned()))?;
    let addresses: Vec<SocketAddr> = found.map_err(|error| unknown(error.to_string()))?.collect();
    if addresses.is_empty() { Err(unknown("the name has no address".to_owned())) } else { Ok(addresses) }
}

/// Returns the address to connect to instead of the name, if the first of several addresses accepts no connection but another does.
///
/// The client tries the addresses of a name in order within one time limit, and never gets to the second if the first swallows what is sent
/// to it: a host that is turned off, an IPv6 address that leads nowhere. The name remains the rule, because only with a name does the
/// handshake tell which host it wants (SNI).
pub(super) async fn taker(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let (first, others) = addresses.split_first().filter(|(_, others)| !others.is_empty())?;
    if matches!(timeout(PATIENCE, TcpStream::connect(first)).await, Ok(Ok(_))) {
        return None;
    }
    let mut attempts = JoinSet::new();
    // TLS does not take an address with a zone.
    for address in others.iter().copied().filter(|address| !has_zone(address)) {
        attempts.spawn(async move { TcpStream::connect(address).await.is_ok().then_some(address) });
    }
    let found = async {
        while let Some(attempt) = attempts.join_next().await {
            if let Ok(Some(address)) = attempt {
                return Some(address);
            }
        }
        None
    };
    timeout(PATIENCE, found).await.ok().flatten()
}

const fn has_zone(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.scope_id() != 0)
}

/// Returns whether a name, before it is resolved, most likely belongs to the household's own network.
pub(super) fn is_near_name(host: &str) -> bool {
    if let Ok(address) = host.parse() {
        return is_near(address);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ends = [".local", ".lan", ".home", ".internal", ".localhost", ".home.arpa", ".fritz.box"];
    !host.contains('.') || ends.iter().any(|end| host.ends_with(end))
}

/// Returns whether an address belongs to the household's own network.
pub(super) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}
