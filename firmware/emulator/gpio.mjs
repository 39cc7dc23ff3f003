// The two contactors: driven by GPIO6 and 7, seen through mirror contacts on GPIO8 and 9, which are closed to ground while the contactor is open
// (10 kΩ to ground at the outputs, pull-ups of the chip at the inputs). A pin that is no output leaves its contactor open.

import { GPIOPinState } from 'rp2040js';

const OUTPUTS = [6, 7], MIRRORS = [8, 9];
const PICKS_UP_NS = 20e6, DROPS_OUT_NS = 15e6;

export class Contactors {
  /** What happened, as `{ at, contact, closed }` with contacts counted from 1 and times in simulated nanoseconds: the coil's circuit. */
  driven = [];
  /** Called with contact and state when that happens. */
  onDriven = () => {};
  #chip;
  #machine;
  #coils = [false, false];
  #closed = [false, false];
  #welded = [false, false];
  #brokenWire = [false, false];

  attach(chip, machine) {
    this.#chip = chip;
    this.#machine = machine;
    OUTPUTS.forEach((pin, i) => {
      chip.gpio[pin].addListener(() => this.#drive(i));
      this.#drive(i); // a reset has just made it an input
      this.#show(i);
    });
  }

  /** Whether the coil of a contact (counted from 1) is driven. */
  isDriven(contact) {
    return this.#coils[contact - 1];
  }

  /** Whether current flows, which a welded contact's does in any case. */
  isClosed(contact) {
    return this.#closed[contact - 1];
  }

  /** From now on it no longer opens. */
  weld(contact) {
    this.#welded[contact - 1] = true;
  }

  /** The wire of the mirror contact is broken: reads as closed. */
  breakWire(contact) {
    this.#brokenWire[contact - 1] = true;
    this.#show(contact - 1);
  }

  /** When a contact was last opened, in simulated milliseconds. */
  openedAtMs(contact) {
    const last = this.driven.filter((event) => event.contact === contact && !event.closed).at(-1);
    return last === undefined ? null : last.at / 1e6;
  }

  #drive(i) {
    const on = this.#chip.gpio[OUTPUTS[i]].value === GPIOPinState.High;
    if (on === this.#coils[i]) return;
    this.#coils[i] = on;
    this.driven.push({ at: this.#machine.nanos, contact: i + 1, closed: on });
    this.onDriven(i + 1, on);
    this.#machine.interrupt();
    this.#machine.later(on ? PICKS_UP_NS : DROPS_OUT_NS, () => {
      this.#closed[i] = this.#coils[i] || (this.#welded[i] && this.#closed[i]);
      this.#show(i);
    });
  }

  #show(i) {
    const high = this.#closed[i] || this.#brokenWire[i];
    const pin = this.#chip.gpio[MIRRORS[i]];
    if (pin.rawInputValue !== high) pin.setInputValue(high);
  }
}
