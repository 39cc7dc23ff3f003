//! Closes the lines and opens new ones when a `[[charger]]` table has changed.
//!
//! The old lines end first: a port can only be open once, and the new driver takes over what the old one knew about a wallbox that was
//! left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use control::{ChargerId, Millis, Tick};
use futures_util::future::select_all;
use tokio::sync::mpsc;
use tracing::info;

use super::{BUS_EVENTS, Daemon};
use crate::charger::bus::{self, Before, Bus, BusCommand, BusEnd};
use crate::config::LinkConfig;
use crate::mqtt::link::Event;

/// How long the loop does nothing but wait for the closing lines. A line that takes longer ends while the loop continues.
const LINES_END: Duration = Duration::from_secs(3);

/// A line that has not ended after this time hangs in the operating system. The process then ends and systemd restarts it: no new line is
/// opened before the old ones have ended, so otherwise nothing would ever charge again.
const LINES_END_MAX: Millis = Millis::from_secs(60);

/// Where a wallbox is: its line and its unit number there.
pub(super) type Place = (LinkConfig, u8);

/// A line that was asked to end.
#[derive(Debug)]
pub(super) struct Closing {
    bus: Bus,
    places: BTreeMap<ChargerId, Place>,
}

impl Closing {
    pub(super) const fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }
}

impl Daemon {
    /// Opens a bus for every line that has none, once all old ones have ended.
    pub(super) fn open_buses(&mut self) -> std::io::Result<()> {
        if !self.closing.is_empty() {
            return Ok(());
        }
        let mut memories = std::mem::take(&mut self.memories);
        let mut lines: BTreeMap<LinkConfig, BTreeMap<_, _>> = BTreeMap::new();
        for (id, setup) in &self.hub.config().chargers {
            let profile = crate::charger::profile::load(&setup.profile).map_err(std::io::Error::other)?;
            let unlock_first = self.hub.is_locked(&setup.name);
            let before = Before { unlock_first, memory: memories.remove(&(setup.link.clone(), setup.unit)) };
            lines.entry(setup.link.clone()).or_default().insert(*id, (setup.clone(), profile, before));
        }
        for (line, chargers) in lines {
            if !self.buses.contains_key(&line) {
                let events = self.bus_sender.clone();
                let bus = bus::spawn(line.clone(), chargers, self.clock, events, Some(self.tasks.relays.sender()))?;
                self.buses.insert(line, bus);
            }
        }
        Ok(())
    }

    /// Sets the safe current on every line and waits for the lines to end; events that they still send are handled. Returns the messages
    /// under `set/` that came meanwhile: they are for the chargers of the new configuration.
    pub(super) async fn close_lines(&mut self) -> Vec<Event> {
        if self.closing.is_empty() {
            self.closing_by = self.clock.now() + LINES_END_MAX;
        }
        for (link, bus) in std::mem::take(&mut self.buses) {
            bus.send(BusCommand::Shutdown);
            let on_it = self.hub.config().chargers.iter().filter(|(_, setup)| setup.link == link);
            let places = on_it.map(|(id, setup)| (*id, (link.clone(), setup.unit))).collect();
            self.closing.push(Closing { bus, places });
        }
        let ends = async {
            for closing in &mut self.closing {
                closing.bus.ended().await;
            }
        };
        let (mut said, mut site, mut set) = (Vec::new(), Vec::new(), Vec::new());
        // Events from all senders are received meanwhile: a relay shares the broker with everything else.
        let taking = async {
            loop {
                tokio::select! {
                    Some(event) = self.bus_events.recv() => keep(&mut said, event, false),
                    Some(event) = self.site_events.recv() => {
                        let is_link = matches!(event, Event::Up | Event::Down { .. });
                        keep(&mut site, event, is_link);
                    }
                    Some(event) = self.set_events.recv() => keep(&mut set, event, false),
                    else => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = ends => {}
            () = taking => {}
            () = tokio::time::sleep(LINES_END) => info!("a line takes some seconds to end; the new ones are opened after it"),
        }
        self.take_memories();
        for event in said {
            self.hub.bus(&event, self.clock.now());
        }
        for event in site {
            self.hub.site(&event, self.clock.now());
        }
        while let Ok(event) = self.bus_events.try_recv() {
            self.hub.bus(&event, self.clock.now());
        }
        // Lines that have not ended yet report to a channel without a reader.
        (self.bus_sender, self.bus_events) = mpsc::channel(BUS_EVENTS);
        set
    }

    /// When the old lines must have ended.
    pub(super) fn lines_due(&self) -> Option<Tick> {
        (!self.closing.is_empty()).then_some(self.closing_by)
    }

    /// Handles the end of an old line; the new lines are opened after the last one.
    pub(super) fn lines_closed(&mut self) -> std::io::Result<()> {
        self.take_memories();
        self.open_buses()
    }

    /// Collects what the drivers of ended lines remembered.
    fn take_memories(&mut self) {
        let memories = &mut self.memories;
        self.closing.retain_mut(|closing| {
            let Some(left) = closing.bus.memories() else { return true };
            let places = &closing.places;
            memories.extend(left.into_iter().filter_map(|(id, memory)| Some((places.get(&id)?.clone(), memory))));
            false
        });
    }
}

/// Keeps an event for later. Beyond the bound only what says how the link is gets a place: everything else comes again.
fn keep<T>(kept: &mut Vec<T>, event: T, is_vital: bool) {
    if kept.len() < BUS_EVENTS || is_vital {
        kept.push(event);
    }
}

/// Waits for the first of the lines to end; forever if there is none.
pub(super) async fn first_end(buses: impl Iterator<Item = &mut Bus>) -> BusEnd {
    let ends: Vec<_> = buses.map(|bus| Box::pin(bus.ended())).collect();
    if ends.is_empty() {
        return std::future::pending().await;
    }
    select_all(ends).await.0
}
