//! Integration tests in one binary: single parts and the built program against real counterparts on the loopback interface.

#[cfg(test)]
mod api;
#[cfg(test)]
mod bus;
#[cfg(test)]
mod certs;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod help;
#[cfg(test)]
#[path = "../common/house.rs"]
mod house;
#[cfg(test)]
mod household;
#[cfg(test)]
mod journald;
#[cfg(test)]
mod left_alone;
#[cfg(test)]
mod lies;
#[cfg(test)]
mod line;
#[cfg(test)]
mod modbus_tcp;
#[cfg(test)]
#[path = "../common/mosquitto.rs"]
mod mosquitto;
#[cfg(test)]
mod mqtt;
#[cfg(test)]
mod one_shot;
#[cfg(test)]
mod phases;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod same;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod sim_broker;
#[cfg(test)]
mod simulate;
