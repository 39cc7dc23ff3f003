//! Builds the status that all outputs show, once a turn: joins what the controller decided with names, energies, and the state of the
//! connections. Pure.

use std::collections::BTreeMap;

use control::{ChargerId, Link, Snapshot, Tick};

use super::intake::Intake;
use super::keeper::Keeper;
use super::requests::Requests;
use crate::model::Names;
use crate::model::status::{BrokerState, BrokerStatus, ChargerStatus, Status};
use crate::mqtt::link::Event;

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    names: Names,
    broker: BrokerStatus,
    /// How the link to each charger is, and since when.
    links: BTreeMap<ChargerId, (Link, Tick)>,
}

impl View {
    pub(super) const fn new(names: Names, now: Tick) -> Self {
        let broker = BrokerStatus { state: BrokerState::Connecting, since: now };
        Self { names, broker, links: BTreeMap::new() }
    }

    /// Takes a new configuration. The chargers may have changed places.
    pub(super) fn reconfigure(&mut self, names: Names) {
        self.names = names;
        self.links.clear();
    }

    /// The broker is another one, or the same by another way.
    pub(super) fn moved(&mut self, now: Tick) {
        self.broker = BrokerStatus { state: BrokerState::Connecting, since: now };
    }

    /// The charger's name.
    pub(super) fn name(&self, charger: ChargerId) -> &str {
        self.names.get(charger)
    }

    /// Whether there is a connection to the broker.
    pub(super) fn is_connected(&self) -> bool {
        self.broker.state == BrokerState::Connected
    }

    /// Takes what an event says of the connection to the broker. Its times are real, whatever the speed of the clock.
    pub(super) fn broker(&mut self, event: &Event, now: Tick) {
        let state = match event {
            Event::Up => BrokerState::Connected,
            Event::Down { why, retry_in, .. } => {
                BrokerState::Disconnected { why: why.clone(), next_try: now + *retry_in }
            }
            Event::SubscriptionRefused { .. }
            | Event::LeftOut { .. }
            | Event::Unheard { .. }
            | Event::Message { .. } => return,
        };
        if std::mem::discriminant(&state) != std::mem::discriminant(&self.broker.state) {
            self.broker.since = now;
        }
        self.broker.state = state;
    }

    /// Everything at once.
    pub(super) fn status(
        &mut self,
        snapshot: Snapshot,
        keeper: &Keeper,
        intake: &Intake,
        requests: &Requests,
        now: Tick,
    ) -> Status {
        let mut chargers = Vec::with_capacity(snapshot.chargers.len());
        for (id, view) in snapshot.chargers {
            let link = view.report.map_or(Link::Starting, |report| report.link);
            let known = self.links.entry(id).or_insert((link, now));
            if known.0 != link {
                *known = (link, now);
            }
            let link_since = known.1;
            let name = self.names.get(id).to_owned();
            let (energy, today, session) = keeper.energies(&name, now);
            chargers.push(ChargerStatus { id, name, view, link_since, energy, today, session });
        }
        Status {
            at: now,
            site: snapshot.site,
            chargers,
            inputs: intake.statuses(now),
            broker: self.broker.clone(),
            warnings: intake.warnings(now).into_iter().chain(requests.warning()).collect(),
        }
    }
}
