//! Home Assistant and the user, over MQTT. In reading order: [`input`] (payload → reading), [`command`] (payload → setting), [`state`]
//! (decision → topics), [`session`] (subscriptions, republishing, back-off) and [`trouble`] (what went wrong, in plain words) are pure;
//! only [`link`] touches sockets and the MQTT client.

pub mod command;
pub mod input;
pub mod link;
pub mod refresh;
pub mod session;
pub mod state;
pub mod trouble;
