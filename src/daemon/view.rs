//! Builds the status that all outputs show, once per turn: combines the controller's decisions with names, energies and the state of the
//! connections. Pure.

use std::collections::BTreeMap;

use control::{ChargerId, ChargerReport, Reachability, Snapshot, Tick};

use super::intake::Intake;
use super::keeper::Keeper;
use crate::charger::bus::BusEvent;
use crate::charger::codec::Failure;
use crate::charger::driver::{Level, Notice};
use crate::model::Names;
use crate::model::status::{BrokerState, BrokerStatus, ChargerLink, ChargerStatus, Status};
use crate::mqtt::link::Event;

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    names: Names,
    broker: BrokerStatus,
    links: BTreeMap<ChargerId, LinkView>,
}

/// What is known about the link to a charger.
#[derive(Debug, Clone)]
struct LinkView {
    state: Reachability,
    since: Tick,
    why: Option<String>,
    next_try: Option<Tick>,
}

impl View {
    pub(super) const fn new(names: Names, now: Tick) -> Self {
        let broker = BrokerStatus { state: BrokerState::Connecting, since: now };
        Self { names, broker, links: BTreeMap::new() }
    }

    /// Takes a new configuration.
    pub(super) fn reconfigure(&mut self, names: Names) {
        self.names = names;
    }

    /// Forgets the links: the chargers may have changed places, and their lines are opened anew.
    pub(super) fn forget_chargers(&mut self) {
        self.links.clear();
    }

    /// Starts over with a new connection, to another broker or to the same one in a different way.
    pub(super) fn moved(&mut self, now: Tick) {
        self.broker = BrokerStatus { state: BrokerState::Connecting, since: now };
    }

    /// Returns the charger's name.
    pub(super) fn name(&self, charger: ChargerId) -> &str {
        self.names.get(charger)
    }

    /// Whether there is a connection to the broker.
    pub(super) fn is_connected(&self) -> bool {
        self.broker.state == BrokerState::Connected
    }

    /// Updates the state of the connection to the broker. The event's times are real time, whatever the speed of the clock.
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

    /// Updates the state of a charger's link from an event of its line.
    pub(super) fn bus(&mut self, event: &BusEvent, now: Tick) {
        match event {
            BusEvent::LineDown { charger, why } => self.known(*charger, now).why = Some(why.clone()),
            // The line has said more.
            BusEvent::Notice { notice: Notice::LinkLost { failure: Failure::Gone }, .. } => {}
            BusEvent::Notice { charger, notice } if notice.level() == Level::Warn => {
                self.known(*charger, now).why = Some(notice.to_string());
            }
            BusEvent::NextTry { charger, at } => self.known(*charger, now).next_try = *at,
            BusEvent::Report(report) => self.report(report, now),
            BusEvent::Notice { .. } | BusEvent::WakeUpDone(_) | BusEvent::ShutDown { .. } | BusEvent::Ended => {}
        }
    }

    fn known(&mut self, charger: ChargerId, now: Tick) -> &mut LinkView {
        let new = LinkView { state: Reachability::Starting, since: now, why: None, next_try: None };
        self.links.entry(charger).or_insert(new)
    }

    /// Takes a report. A problem is over once the charger answers again, or is online without a fault.
    fn report(&mut self, report: &ChargerReport, now: Tick) {
        let known = self.known(report.charger, now);
        let was_lost = matches!(known.state, Reachability::Offline | Reachability::Asleep);
        let answers = matches!(report.link, Reachability::Online | Reachability::ReadOnly);
        if known.state != report.link {
            (known.state, known.since) = (report.link, now);
        }
        if was_lost && answers || report.link == Reachability::Online && report.fault.is_none() {
            known.why = None;
        }
    }

    /// Returns the link to a charger.
    fn link(&mut self, charger: ChargerId, now: Tick) -> ChargerLink {
        let known = self.known(charger, now);
        ChargerLink { since: known.since, why: known.why.clone(), next_try: known.next_try }
    }

    /// Builds the status. `journal` is why nothing can be recorded.
    pub(super) fn status(
        &mut self,
        snapshot: Snapshot,
        keeper: &Keeper,
        intake: &Intake,
        journal: Option<String>,
        now: Tick,
    ) -> Status {
        let mut chargers = Vec::with_capacity(snapshot.chargers.len());
        for (id, view) in snapshot.chargers {
            let link = self.link(id, now);
            let name = self.names.get(id).to_owned();
            let (energy, today, session) = keeper.energies(&name, now);
            chargers.push(ChargerStatus { id, name, view, link, energy, today, session });
        }
        Status {
            at: now,
            site: snapshot.site,
            chargers,
            inputs: intake.statuses(now),
            broker: self.broker.clone(),
            warnings: intake.warnings(now).into_iter().chain(keeper.trouble()).chain(journal).collect(),
        }
    }
}
