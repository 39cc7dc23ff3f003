//! The network: joins the Wi-Fi again whenever it is lost, gets an address by DHCP, and switches the LED, which is wired to the Wi-Fi chip;
//! what it shows is decided in [`crate::led`].
//!
//! The chip's power saving stays off: it would add up to a few hundred milliseconds to every answer, and the relay has a power supply
//! anyway.

use cyw43::{A4, Aligned, Control, JoinOptions, NetDriver, PowerManagementMode, SpiBus};
use cyw43_pio::{DEFAULT_CLOCK_DIVIDER, PioSpi};
use embassy_executor::{Spawner, task};
use embassy_net::{Config, DhcpConfig, Stack, StackResources};
use embassy_rp::dma;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::PIO0;
use embassy_rp::pio::Pio;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use portable_atomic::{AtomicI8, Ordering};
use relay_link::settings::Settings;
use static_cell::StaticCell;

use crate::backoff::Backoff;
use crate::led;
use crate::log::line;
use crate::nvram::NVRAM;
use crate::pins::{self, Irqs};

/// The chip's own firmware, as it has no flash of its own.
static FIRMWARE: Aligned<A4, [u8; cyw43_firmware::CYW43_43439A0.len()]> = Aligned(*cyw43_firmware::CYW43_43439A0);
/// Time limit for joining: an access point that neither accepts nor refuses must not hold up the relay forever.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of ticks between two readings of the signal strength.
const RSSI_TICKS: u32 = 100;
/// Limit on sockets: DHCP, DNS, the broker's.
const SOCKETS: usize = 4;

static RSSI_DBM: AtomicI8 = AtomicI8::new(0);

type Bus = SpiBus<Output<'static>, PioSpi<'static, PIO0, 0>>;

/// Returns the signal strength of the Wi-Fi; 0 if not known.
pub(crate) fn rssi_dbm() -> i8 {
    RSSI_DBM.load(Ordering::Relaxed)
}

/// Brings up the chip and the network stack; [`run`] joins the network.
pub(crate) async fn start(
    spawner: Spawner,
    pins: pins::Wifi,
    settings: &Settings<'static>,
    seed: u64,
) -> (Control<'static>, Stack<'static>) {
    static STATE: StaticCell<cyw43::State> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let power = Output::new(pins.power, Level::Low);
    let select = Output::new(pins.select, Level::High);
    let mut pio = Pio::new(pins.pio, Irqs);
    let channel = dma::Channel::new(pins.dma, Irqs);
    let clock = DEFAULT_CLOCK_DIVIDER;
    let spi = PioSpi::new(&mut pio.common, pio.sm0, clock, pio.irq0, select, pins.data, pins.clock, channel);
    let state = STATE.init(cyw43::State::new());
    let (device, mut control, runner) = cyw43::new(state, power, spi, &FIRMWARE, &NVRAM).await;
    crate::spawn(spawner, chip(runner));
    control.init(cyw43_firmware::CYW43_43439A0_CLM).await;
    control.set_power_management(PowerManagementMode::None).await;
    let mut dhcp = DhcpConfig::default();
    // The name shown in the router's list.
    dhcp.hostname = settings.id.try_into().ok();
    let (stack, runner) = embassy_net::new(device, Config::dhcpv4(dhcp), RESOURCES.init(StackResources::new()), seed);
    crate::spawn(spawner, net(runner));
    (control, stack)
}

#[task]
async fn chip(runner: cyw43::Runner<'static, Bus>) -> ! {
    runner.run().await
}

#[task]
async fn net(mut runner: embassy_net::Runner<'static, NetDriver<'static>>) -> ! {
    runner.run().await
}

/// Joins the network, and joins again whenever it is lost.
#[task]
pub(crate) async fn run(mut control: Control<'static>, stack: Stack<'static>, settings: Settings<'static>) -> ! {
    let mut backoff = Backoff::new();
    loop {
        let joined = with_timeout(JOIN_TIMEOUT, control.join(settings.ssid, options(&settings))).await;
        match joined {
            Ok(Ok(())) => {
                line!("wifi: joined {}", settings.ssid);
                backoff.reset();
                // The link comes up by an event after the join.
                let _ = with_timeout(JOIN_TIMEOUT, stack.wait_link_up()).await;
                while_joined(&mut control, stack).await;
                line!("wifi: lost");
            }
            Ok(Err(error)) => line!("wifi: {:?}", error),
            Err(_) => line!("wifi: no answer to the join"),
        }
        RSSI_DBM.store(0, Ordering::Relaxed);
        // Only between two attempts: while joining, the chip accepts nothing else.
        let until = Instant::now() + backoff.fail();
        let mut light = Light::default();
        while Instant::now() < until {
            light.show(&mut control, led::Network::Away).await;
        }
    }
}

fn options<'a>(settings: &Settings<'a>) -> JoinOptions<'a> {
    if settings.passphrase.is_empty() {
        return JoinOptions::new_open();
    }
    let mut options = JoinOptions::new(settings.passphrase.as_bytes());
    // Not every access point accepts a join with WPA2 and WPA3 together.
    options.auth = cyw43::JoinAuth::Wpa2;
    options
}

/// Watches address and signal strength, and drives the LED, as long as there is a link.
async fn while_joined(control: &mut Control<'static>, stack: Stack<'static>) {
    let (mut light, mut address) = (Light::default(), None);
    for tick in (0_u32..).cycle() {
        if !stack.is_link_up() {
            return;
        }
        let now = stack.config_v4().map(|config| config.address.address());
        if now != address {
            match now {
                Some(now) => line!("net: address {}", now),
                None => line!("net: no address"),
            }
            address = now;
        }
        if tick % RSSI_TICKS == 0 {
            RSSI_DBM.store(i8::try_from(control.get_rssi().await).unwrap_or(0), Ordering::Relaxed);
        }
        light.show(control, if address.is_some() { led::Network::Here } else { led::Network::Away }).await;
    }
}

/// The state of the LED, remembered because asking the chip costs more.
#[derive(Default)]
struct Light {
    tick: u32,
    lit: Option<bool>,
}

impl Light {
    /// Shows one tick of the current pattern.
    async fn show(&mut self, control: &mut Control<'static>, network: led::Network) {
        let lit = led::lit(led::meaning(network), self.tick);
        if self.lit != Some(lit) {
            control.gpio_set(0, lit).await;
            self.lit = Some(lit);
        }
        self.tick = self.tick.wrapping_add(1);
        Timer::after(led::TICK).await;
    }
}
