//! The local socket, through which `surplusd status`, `surplusd set` and other programs on this machine talk to the daemon.
//!
//! Newline-delimited JSON, version 1, with one answer per request:
//!
//! | request | answer |
//! |---|---|
//! | `{"v":1,"do":"status"}` | `{"v":1,"age_s":0,"status":{…}}`: the document of the MQTT topic `state`, and its age in seconds |
//! | `{"v":1,"do":"watch"}` | the same, now and after each change, at most once per second, until either end closes |
//! | `{"v":1,"do":"set","key":"mode","value":"fast","charger":"carport"}` | `{"v":1,"done":"carport: 16.0 A (fast): …"}`; without `charger` for all |
//! | anything else, or a refused request | `{"v":1,"error":{"code":"unknown-mode","text":"…"}}` |
//!
//! There are two sockets in one directory. `control.sock` takes all requests and is for root and the group of the service. `status.sock` is
//! read-only and for everybody on this machine. [`server`] is the daemon's end, [`client`] the other end, [`protocol`] the lines on it.

pub mod client;
pub mod protocol;
pub mod server;

/// The socket that takes all requests.
pub const CONTROL: &str = "control.sock";
/// The read-only socket.
pub const STATUS: &str = "status.sock";
/// Directory of the sockets of the installed service.
pub const DIRECTORY: &str = "/run/surplusd";
