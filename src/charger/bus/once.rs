//! A line for one-shot commands: open, send a request, use the answer. It only reads, and repeats a request only if the
//! connection had been closed before it.

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
        // Never used: it precedes writes, and this line only reads.
        let first_read = Operation::ReadInput { addr: 0, count: 1 };
        let target = Arc::new(Target { link, defaults, first_read, setpoints: BTreeMap::new(), relays: None });
        let mut new = Self { target, clock, wire: Wire::closed() };
        new.wire.listen_for(LATE_MAX);
        new.reopen().await?;
        Ok(new)
    }

    /// Shortens the time, 2 s by default, for which to listen for an answer that is too late to count.
    pub const fn listen_for(&mut self, late: Millis) {
        self.wire.listen_for(late);
    }

    /// Returns what was noticed about the line since the last call.
    pub fn remarks(&mut self) -> Vec<Remark> {
        self.wire.remarks().collect()
    }

    /// Requests registers and waits at most `reply` for the answer. After a failure the line is first made usable again.
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
            // Not the result of a request: the line cannot be trusted.
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
