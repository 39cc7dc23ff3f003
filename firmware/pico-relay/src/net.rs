//! The network: Wi-Fi joined for ever, an address by DHCP, and the LED, which hangs on the Wi-Fi chip; what it says is [`crate::led`]'s.
//!
//! The chip's power saving stays off: it would add up to a few hundred milliseconds to every answer, and the relay has a power supply.

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

/// The chip's own firmware; it has no flash of its own.
static FIRMWARE: Aligned<A4, [u8; cyw43_firmware::CYW43_43439A0.len()]> = Aligned(*cyw43_firmware::CYW43_43439A0);
/// An access point that neither accepts nor refuses must not hold the relay for ever.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Ticks between two looks at the signal's strength.
const RSSI_TICKS: u32 = 100;
/// Sockets: DHCP, DNS, the broker's.
const SOCKETS: usize = 4;

static RSSI_DBM: AtomicI8 = AtomicI8::new(0);

type Bus = SpiBus<Output<'static>, PioSpi<'static, PIO0, 0>>;

/// Of the Wi-Fi; 0: not known.
pub(crate) fn rssi_dbm() -> i8 {
    RSSI_DBM.load(Ordering::Relaxed)
}

/// Brings up the chip and the network stack; joining is [`run`]'s.
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
    // The name by which the router's list shows it.
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

/// Joins, and joins again whenever the network went away.
#[task]
pub(crate) async fn run(mut control: Control<'static>, stack: Stack<'static>, settings: Settings<'static>) -> ! {
    let mut backoff = Backoff::new();
    loop {
        let joined = with_timeout(JOIN_TIMEOUT, control.join(settings.ssid, options(&settings))).await;
        match joined {
            Ok(Ok(())) => {
                line!("wifi: joined {}", settings.ssid);
                backoff.reset();
                // The link follows the join by an event.
                let _ = with_timeout(JOIN_TIMEOUT, stack.wait_link_up()).await;
                while_joined(&mut control, stack).await;
                line!("wifi: lost");
            }
            Ok(Err(error)) => line!("wifi: {:?}", error),
            Err(_) => line!("wifi: no answer to the join"),
        }
        RSSI_DBM.store(0, Ordering::Relaxed);
        // Between two attempts only: while it joins, the chip has no ear for anything else.
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
    // WPA2 and WPA3 at once is not joined by every access point.
    options.auth = cyw43::JoinAuth::Wpa2;
    options
}

/// Looks after what changes while there is a link: address, signal, LED.
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

/// The LED as it is. Asking the chip costs more than remembering.
#[derive(Default)]
struct Light {
    tick: u32,
    lit: Option<bool>,
}

impl Light {
    /// Shows one tick of what is to be said.
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
