//! The capabilities of this relay, for [`relay_link::Endpoint`].

use embassy_time::Instant;
use relay_link::{ContactState, ExchangeFailure, LeaseRefusal, RS485_MAX, RelayHandler, ResetReason, Status};

use crate::rs485::Rs485;
use crate::{VERSION, contacts, health, led, net};

/// The relay.
pub(crate) struct Relay {
    pub(crate) line: Rs485,
    pub(crate) reset: ResetReason,
}

impl RelayHandler for Relay {
    async fn exchange(
        &mut self,
        request: &[u8],
        reply_timeout_ms: u16,
        expected: u16,
        reply: &mut [u8; RS485_MAX],
    ) -> Result<usize, ExchangeFailure> {
        led::relayed();
        self.line.exchange(request, reply_timeout_ms, expected, reply).await
    }

    fn lease(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        contacts::lease(contact, seconds)
    }

    fn renew(&mut self, contact: u8, seconds: u16) -> Result<ContactState, LeaseRefusal> {
        contacts::renew(contact, seconds)
    }

    fn status(&mut self) -> Status {
        let counts = self.line.counts;
        Status {
            uptime_s: u32::try_from(Instant::now().as_secs()).unwrap_or(u32::MAX),
            rssi_dbm: net::rssi_dbm(),
            temperature_centi_c: health::temperature_centi_c(),
            reset: self.reset,
            contacts: contacts::states(),
            exchanges: counts.exchanges,
            timeouts: counts.timeouts,
            garbage: counts.garbage,
            version: VERSION,
        }
    }

    fn identify(&mut self, seconds: u8) {
        led::identify(seconds);
    }

    fn firmware(&self) -> [u8; 3] {
        VERSION
    }
}
