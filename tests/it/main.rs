//! Integration tests in one binary: the parts and the built program against real counterparts on the loopback interface.

mod daemon;
mod mosquitto;
mod mqtt;
mod sim_broker;
