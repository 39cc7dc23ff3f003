//! The local socket: what `surplusd status`, `surplusd set` and other programs on this machine speak to the daemon.
//!
//! Newline-delimited JSON, one answer for each line, in version 1:
//!
//! | request | answer |
//! |---|---|
//! | `{"v":1,"do":"status"}` | `{"v":1,"age_s":0,"status":{…}}`: the document of the MQTT topic `state`, and how old it is |
//! | `{"v":1,"do":"watch"}` | the same, again and again: after each change, at most once a second, until one of both closes |
//! | `{"v":1,"do":"set","key":"mode","value":"fast","charger":"carport"}` | `{"v":1,"done":"carport: 16.0 A (fast): …"}`; without `charger` for all |
//! | anything else, or what is refused | `{"v":1,"error":{"code":"unknown-mode","text":"…"}}` |
//!
//! There are two sockets in one directory. `control.sock` takes everything and is for root and the group of the service. `status.sock` only
//! shows, and is for everybody on this machine. [`server`] is the daemon's end, [`client`] the other, [`protocol`] what they agree on.

pub mod client;
pub mod protocol;
pub mod server;

/// The socket that takes everything.
pub const CONTROL: &str = "control.sock";
/// The socket that only shows.
pub const STATUS: &str = "status.sock";
/// Where the sockets of the installed service are.
pub const DIRECTORY: &str = "/run/surplusd";
