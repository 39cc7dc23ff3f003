//! Requests to relays about contacts, in parallel with the line's own traffic: a relay that does not answer must not hold up a wallbox that
//! does.

use std::collections::BTreeMap;

use control::{ChargerId, Millis};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::charger::driver::ANSWER_WITHIN;
use crate::clock::Clock;
use crate::config::{ChargerSetup, PhaseSwitch};
use crate::relay::{Failure, RelayCall, RelayRequest, RelayResponse};

/// Time limit for the whole call. The relays deliver an answer or a failure sooner; a hung loop does neither, and does not take the request
/// later.
const GIVEN_UP_AFTER: Millis = Millis(ANSWER_WITHIN.0 + 1_000);

type Answered = (ChargerId, Result<RelayResponse, Failure>);

/// The contacts of a line's chargers.
#[derive(Debug)]
pub(super) struct Contacts {
    relays: Option<mpsc::Sender<RelayCall>>,
    names: BTreeMap<ChargerId, String>,
    clock: Clock,
    /// At most one request per charger.
    asked: JoinSet<Answered>,
}

impl Contacts {
    pub(super) fn new<'a>(
        setups: impl Iterator<Item = (ChargerId, &'a ChargerSetup)>,
        relays: Option<mpsc::Sender<RelayCall>>,
        clock: Clock,
    ) -> Self {
        let named = |(id, setup): (ChargerId, &ChargerSetup)| {
            let relay = setup.phase_switch.as_ref().and_then(PhaseSwitch::relay)?;
            Some((id, relay.to_owned()))
        };
        Self { relays, names: setups.filter_map(named).collect(), clock, asked: JoinSet::new() }
    }

    /// Sends a request on behalf of a charger.
    pub(super) fn ask(&mut self, charger: ChargerId, what: RelayRequest) {
        let (relay, relays, clock) = (self.names.get(&charger).cloned(), self.relays.clone(), self.clock);
        self.asked.spawn(async move {
            let (reply, answer) = oneshot::channel();
            let asking = async {
                let ask = RelayCall { relay: relay?, what, within: ANSWER_WITHIN, reply };
                relays?.send(ask).await.ok()?;
                answer.await.ok()
            };
            let answer = timeout(clock.real(GIVEN_UP_AFTER), asking).await.ok().flatten();
            (charger, answer.unwrap_or(Err(Failure::Away)))
        });
    }

    /// Waits for the next answer; forever if there is no request. May be dropped at any time.
    pub(super) async fn answered(&mut self) -> Answered {
        while let Some(answered) = self.asked.join_next().await {
            if let Ok(answered) = answered {
                return answered;
            }
        }
        std::future::pending().await
    }
}
