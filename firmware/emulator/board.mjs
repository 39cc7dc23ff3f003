// A Pico W on its board, in its house: chip, radio, access point, network, console, wallbox and contactors, ready to be switched on.

import { AccessPoint } from './accesspoint.mjs';
import { Contactors } from './gpio.mjs';
import { Gspi } from './gspi.mjs';
import { Machine } from './machine.mjs';
import { Network } from './network.mjs';
import { Rs485 } from './rs485.mjs';
import { writeSettings } from './settings.mjs';
import { Console } from './uart.mjs';
import { Wallbox } from './wallbox.mjs';
import { Wifi } from './wifi.mjs';

// Of the chip's thermometer: 0.706 V at 27 °C (RP2040 datasheet, 4.9.5), 12 bits of 3.3 V.
const AT_27_DEGREES = Math.round((0.706 / 3.3) * 4096);
const thermometer = { attach: (chip) => (chip.adc.channelValues[4] = AT_27_DEGREES) };

export class Board {
  /** `settings` are those of the page in flash; without them the page is empty, as in a Pico fresh from the shop. */
  constructor({ elf, settings = null, accessPoint = new AccessPoint(), echo = Boolean(process.env.PICO_ECHO), seed = 1 }) {
    this.machine = new Machine({ elf, seed });
    this.accessPoint = accessPoint;
    this.console = this.machine.add(new Console({ echo }));
    this.machine.add(thermometer);
    this.wallbox = new Wallbox();
    this.rs485 = this.machine.add(new Rs485(this.wallbox));
    this.wifi = this.machine.add(new Wifi({ accessPoint }));
    this.machine.add(new Gspi(this.wifi));
    this.contactors = this.machine.add(new Contactors());
    this.network = new Network({ machine: this.machine, wlan: this.wifi.wlan });
    if (settings) writeSettings(this.machine, settings);
  }

  powerOn() {
    this.machine.powerOn();
  }

  /** Lets go of the host's sockets, which would keep the process alive. */
  dispose() {
    this.network.tcp.forgetAll();
  }

  /** Runs until a line of the console matches; throws with the console's last lines if none does within `ms` of simulated time. */
  async expectLine(pattern, { ms, from = 0 }) {
    if (await this.machine.runUntil(() => this.console.has(pattern, from), { ms })) return this.console.find(pattern, from);
    throw new Error(`no line ${pattern} within ${ms} ms; the console says\n${this.console.tail()}\nfaults: ${this.machine.faults.join('; ') || 'none'}`);
  }

  /** Whether the console's last word about it is that the relay is at the broker. */
  get isAtBroker() {
    const last = this.console.lines.findLast(({ text }) => /^(broker|reset|wifi: lost)/.test(text));
    return last?.text === 'broker: connected' && last.at > (this.machine.resets.at(-1)?.at ?? 0);
  }

  /** Runs until the relay is at the broker. */
  async atBroker({ ms }) {
    if (await this.machine.runUntil(() => this.isAtBroker, { ms })) return;
    throw new Error(`not at the broker within ${ms} ms; the console says\n${this.console.tail()}`);
  }

  /** The LED on the board, which hangs on the radio. */
  get led() {
    return Boolean(this.wifi.wlan.gpio & 1);
  }
}
