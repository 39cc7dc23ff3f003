// What hangs on a UART: the console on UART0, which people read line by line and type into, and a plain byte line for the wallbox on UART1.

import { Pl011 } from './pl011.mjs';

const BASES = [0x40034, 0x40038];
const MAX_LINES = 2000;

/** One of the Pico's UARTs, as seen from outside. `onByte(byte)` gets what it sends. */
export class SerialPort {
  #index;
  #uart;

  constructor(index, onByte = () => {}) {
    this.#index = index;
    this.onByte = onByte;
  }

  attach(chip, machine) {
    this.machine = machine;
    this.#uart = new Pl011(chip, chip.uart[this.#index], BASES[this.#index], (byte) => this.onByte(byte));
  }

  /** Baud, parity and so on as the firmware has set them, or `null`. */
  get format() {
    return this.#uart.format;
  }

  get byteNanos() {
    return this.#uart.byteNanos;
  }

  /** Sends bytes to the Pico one after the other, each in its time. */
  send(bytes, { afterNanos = 0, options = {} } = {}) {
    const { machine } = this;
    const start = Math.max(machine.nanos + afterNanos, this.#freeAt);
    [...bytes].forEach((byte, i) => {
      // Looked up when it arrives: a reset in between puts another chip there.
      machine.later(start + (i + 1) * this.byteNanos - machine.nanos, () => this.deliver(byte, options));
    });
    this.#freeAt = start + bytes.length * this.byteNanos;
  }

  /** A byte has arrived at the pin. */
  deliver(byte, options) {
    this.#uart.receive(byte, options);
  }

  #freeAt = 0;
}

/** The console. Lines are kept with the time of their end. */
export class Console extends SerialPort {
  lines = [];
  #partial = [];
  #echo;

  /** `echo` shows the lines on standard output as they come. */
  constructor({ echo = false } = {}) {
    super(0, (byte) => this.#take(byte));
    this.#echo = echo;
  }

  /** Types a line and Enter. */
  type(text) {
    this.send(Buffer.from(`${text}\r`));
  }

  /** Whether a line has matched since `from` (an index into `lines`). */
  has(pattern, from = 0) {
    return this.find(pattern, from) !== undefined;
  }

  /** The first line that matches since `from`. */
  find(pattern, from = 0) {
    return this.lines.slice(from).find(({ text }) => pattern.test(text));
  }

  count(pattern, from = 0) {
    return this.lines.slice(from).filter(({ text }) => pattern.test(text)).length;
  }

  /** The last lines, for messages of failed tests. */
  tail(count = 15) {
    return this.lines.slice(-count).map(({ at, text }) => `${(at / 1e6).toFixed(1).padStart(10)} ms  ${text}`).join('\n');
  }

  #take(byte) {
    if (byte !== 0x0a) {
      if (byte !== 0x0d) this.#partial.push(byte);
      return;
    }
    const text = Buffer.from(this.#partial).toString('utf8');
    this.#partial = [];
    if (this.lines.length < MAX_LINES) this.lines.push({ at: this.machine.nanos, text });
    if (this.#echo) process.stdout.write(`${(this.machine.ms).toFixed(1).padStart(10)} ms  ${text}\n`);
    this.machine.interrupt();
  }
}
