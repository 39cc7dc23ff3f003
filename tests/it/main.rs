//! Tests of the daemon's parts against real counterparts on the loopback interface.

#[cfg(test)]
mod mosquitto;
#[cfg(test)]
mod mqtt;
