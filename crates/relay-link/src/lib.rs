//! The protocol between the gateway and its Pico W relay, carried as MQTT payloads, and the rules that both must keep.
//!
//! `no_std`, no allocation, no clock, no I/O: the firmware, the gateway, the simulated relay and the tests share this one piece of code.
//! Raw integers with units in their names cross this interface; it knows nothing of the controller.
//!
//! * [`topic`]: where frames go.
//! * [`frame`]: a version, a kind, a session, a sequence number, a bounded body and a checksum.
//! * [`message`]: what bodies mean. Append-only: a reader ignores what follows the fields it knows.
//! * [`endpoint`]: the relay's side, [`Endpoint::handle_frame`]: a repeated request gets the same answer again, and nothing is done twice.
//! * [`contacts`]: contacts as leases, interlocked, with welding latched.
//! * [`settings`]: the page of flash with network, broker and certificates; [`draft`]: the same, typed on a console.
//!
//! A lost frame costs a repetition; one that arrives twice or late does nothing: the relay numbers its sessions, and refuses a frame of any
//! other session.
#![no_std]

pub mod contacts;
pub mod draft;
pub mod endpoint;
pub mod frame;
pub mod message;
pub mod settings;
pub mod topic;

pub use contacts::{ContactState, Contacts, LeaseRefusal};
pub use endpoint::{Endpoint, RelayHandler};
pub use frame::{CURRENT, FRAME_MAX, Frame, FrameFault, MIN};
pub use message::{ExchangeFailure, RS485_MAX, Reply, Request, ResetReason, Status};
