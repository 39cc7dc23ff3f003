//! Checks that the thread level still runs, and measures the chip's temperature.

use embassy_executor::task;
use embassy_rp::adc::{Adc, Channel, Config};
use embassy_time::{Duration, Instant, Timer};
use portable_atomic::{AtomicI16, AtomicU32, Ordering};

use crate::log::line;
use crate::{memory, pins};

const PULSE: Duration = Duration::from_millis(500);
/// When the thread level counts as stuck: TLS calculates for up to two seconds at a time, and nothing takes longer than this.
const STUCK_MS: u32 = 8_000;
/// How long the broker may be out of contact before the relay resets: only a reset cures a Wi-Fi chip or a network stack that hangs. If the
/// broker is merely down a reset does no harm, as nothing is closed then.
const LINK_AWAY: Duration = Duration::from_secs(30 * 60);
/// Number of pulses between two temperature readings, and between two reports of memory.
const THERMOMETER: u32 = 20;
const REPORT: u32 = 120;

static LAST_PULSE_MS: AtomicU32 = AtomicU32::new(0);
/// When anything was last received from the broker, in seconds since the start.
static LINK_S: AtomicU32 = AtomicU32::new(0);
static TEMPERATURE: AtomicI16 = AtomicI16::new(0);

/// Returns the milliseconds since the start, wrapping.
fn now_ms() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "differences are taken, and they are short")]
    {
        Instant::now().as_millis() as u32
    }
}

fn now_s() -> u32 {
    u32::try_from(Instant::now().as_secs()).unwrap_or(u32::MAX)
}

/// Returns whether this task has run lately. Called by the contacts' task, which feeds the watchdog.
pub(crate) fn thread_level_lives() -> bool {
    now_ms().wrapping_sub(LAST_PULSE_MS.load(Ordering::Relaxed)) < STUCK_MS
}

/// Notes that something was received from the broker.
pub(crate) fn link_lives() {
    LINK_S.store(now_s(), Ordering::Relaxed);
}

fn link_away() -> bool {
    let away_s = now_s().saturating_sub(LINK_S.load(Ordering::Relaxed));
    Duration::from_secs(u64::from(away_s)) > LINK_AWAY
}

/// Returns the chip's temperature in hundredths of a degree Celsius.
pub(crate) fn temperature_centi_c() -> i16 {
    TEMPERATURE.load(Ordering::Relaxed)
}

/// Proves with a regular pulse that the thread level runs.
#[task]
pub(crate) async fn run(pins: pins::Health, provisioned: bool) {
    let mut adc = Adc::new_blocking(pins.adc, Config::default());
    let mut sensor = Channel::new_temp_sensor(pins.sensor);
    for count in (0_u32..).cycle() {
        if provisioned && link_away() {
            line!("nothing from the broker for half an hour: restarting");
            // Without a pulse the watchdog is no longer fed.
            core::future::pending::<()>().await;
        }
        LAST_PULSE_MS.store(now_ms(), Ordering::Relaxed);
        if count % THERMOMETER == 0
            && let Ok(raw) = adc.blocking_read(&mut sensor)
        {
            TEMPERATURE.store(centi_c(raw), Ordering::Relaxed);
        }
        if count % REPORT == 4 {
            memory::peaks();
        }
        Timer::after(PULSE).await;
    }
}

/// Converts a reading of the sensor. RP2040 datasheet, 4.9.5: 27 °C at 0.706 V, 1.721 mV less per degree; 12 bits of 3.3 V.
fn centi_c(raw: u16) -> i16 {
    let microvolts = i32::from(raw) * 3_300_000 / 4_096;
    i16::try_from(2_700 - (microvolts - 706_000) * 100 / 1_721).unwrap_or(0)
}
