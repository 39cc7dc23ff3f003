// The four wires between the RP2040 and the radio, bit by bit: the PIO program of the driver really runs, and this side sees only edges.
//
// GPIO23 power, GPIO24 data (both ways, and the radio's interrupt while CS is high), GPIO25 CS, GPIO29 clock (Pico W datasheet, figure 4).
// The radio takes a bit with the rising edge and gives one with the falling edge.

import { GPIOPinState } from 'rp2040js';

const POWER = 23, DATA = 24, SELECT = 25, CLOCK = 29;

export class Gspi {
  #radio;
  #data;
  #selected = false;
  #shift = 0;
  #bits = 0;
  #words = [];
  #needed = 0;
  #reply = null;
  #replyBit = 0;

  /** `radio` has `power(on)`, `wordsFor(first)`, `transfer(words)` and `interrupt`, and calls `onInterrupt` when that changes. */
  constructor(radio) {
    this.#radio = radio;
    radio.onInterrupt = () => this.#showInterrupt();
  }

  attach(chip) {
    this.#data = chip.gpio[DATA];
    this.#selected = false;
    chip.gpio[POWER].addListener((state) => {
      // Neither driven nor pulled during a reset: the radio keeps its power then, as on the board.
      if (state === GPIOPinState.Low) this.#radio.power(false);
      if (state === GPIOPinState.High) this.#radio.power(true);
    });
    chip.gpio[SELECT].addListener((state) => this.#select(state === GPIOPinState.Low));
    chip.gpio[CLOCK].addListener((state, before) => {
      if (!this.#selected) return;
      if (state === GPIOPinState.High) this.#rising();
      else if (state === GPIOPinState.Low && before === GPIOPinState.High) this.#falling();
    });
  }

  #select(on) {
    this.#selected = on;
    this.#shift = this.#bits = this.#needed = 0;
    this.#words = [];
    this.#reply = null;
    if (!on) this.#showInterrupt();
  }

  #showInterrupt() {
    if (this.#selected || !this.#data) return;
    if (this.#data.rawInputValue !== this.#radio.interrupt) this.#data.setInputValue(this.#radio.interrupt);
  }

  #rising() {
    if (this.#reply) return;
    this.#shift = ((this.#shift << 1) | (this.#data.value === GPIOPinState.High ? 1 : 0)) >>> 0;
    if (++this.#bits < 32) return;
    this.#words.push(this.#shift);
    this.#shift = this.#bits = 0;
    if (this.#words.length === 1) this.#needed = this.#radio.wordsFor(this.#words[0]);
    if (this.#words.length < this.#needed) return;
    this.#reply = this.#radio.transfer(this.#words);
    this.#replyBit = 0;
  }

  #falling() {
    if (!this.#reply) return;
    const word = this.#reply[this.#replyBit >> 5] ?? 0;
    this.#data.setInputValue(Boolean((word >>> (31 - (this.#replyBit & 31))) & 1));
    this.#replyBit++;
  }
}
