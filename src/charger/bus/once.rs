//! A line for one-shot commands: open, ask, look at the answer. Reads only, and repeats only
//! what met a connection that had been closed before.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::Millis;

use super::target::Target;
use super::wire::{LATE_MAX, Remark, Wire};
use crate::charger::codec::{Failure, Operation, Outcome, Request};
use crate::charger::line::{BusOp, BusResult, OpenError};
use crate::charger::profile::LinkDefaults;
use crate::clock::Clock;
use crate::config::LinkConfig;

/// An open line that nobody else uses.
pub struct OneShot {
    target: Arc<Target>,
    clock: Clock,
    wire: Wire,
}

impl OneShot {
    /// Opens the line and waits until it is quiet.
    pub async fn open(link: LinkConfig, defaults: LinkDefaults, clock: Clock) -> Result<Self, OpenError> {
        // Reads only, so nothing has to be read before.
        let first_read = Operation::ReadInput { addr: 0, count: 1 };
        let target = Arc::new(Target { link, defaults, first_read, setpoints: BTreeMap::new(), relays: None });
        let mut new = Self { target, clock, wire: Wire::closed() };
        new.wire.listen_for(LATE_MAX);
        new.reopen().await?;
        Ok(new)
    }

    /// Listens only this long, instead of 2 s, for an answer that is too late to count.
    pub const fn listen_for(&mut self, late: Millis) {
        self.wire.listen_for(late);
    }

    /// What was noticed of the line since the last call.
    pub fn remarks(&mut self) -> Vec<Remark> {
        self.wire.remarks().collect()
    }

    /// Asks for registers and waits for the answer at most `reply`. After a failure the line is made usable again first.
    /// A write is not carried out: it ends as [`Failure::Gone`].
    pub async fn ask(&mut self, request: Request, reply: Millis) -> Result<Outcome, OpenError> {
        match request.op {
            Operation::ReadInput { .. } | Operation::ReadHolding { .. } => {}
            Operation::WriteSingle { .. } => return Ok(Outcome::Failed(Failure::Gone)),
        }
        if self.wire.is_closed() {
            self.reopen().await?;
        }
        self.clock.sleep(self.target.defaults.gap).await;
        match self.perform(BusOp::Send(request, reply)).await {
            BusResult::OpenFailed(error) | BusResult::DrainFailed(error) => Err(error),
            // Not an end of a request; the line is not to be trusted.
            BusResult::Opened | BusResult::Drained | BusResult::Ended(Outcome::Failed(Failure::Gone)) => {
                Err(OpenError::Lost)
            }
            BusResult::Ended(outcome) => Ok(outcome),
        }
    }

    async fn reopen(&mut self) -> Result<(), OpenError> {
        for op in [BusOp::Open, BusOp::Drain { quiet: self.target.defaults.quiet }] {
            match self.perform(op).await {
                BusResult::OpenFailed(error) | BusResult::DrainFailed(error) => return Err(error),
                BusResult::Opened | BusResult::Drained | BusResult::Ended(_) => {}
            }
        }
        Ok(())
    }

    async fn perform(&mut self, op: BusOp) -> BusResult {
        let wire = std::mem::replace(&mut self.wire, Wire::closed());
        let (wire, done) = wire.perform(op, Arc::clone(&self.target), self.clock).await;
        self.wire = wire;
        done
    }
}
