// The RS-485 line on UART1 with its transceiver: DE and RE on GPIO3, high while the Pico sends. Half duplex, so what is sent at the wrong time is lost.

import { GPIOPinState } from 'rp2040js';
import { SerialPort } from './uart.mjs';

const DIRECTION = 3;

export class Rs485 extends SerialPort {
  /** Bytes that the Pico sent while its transceiver was not sending. */
  unsent = 0;
  /** Bytes that reached the Pico while its transceiver was not receiving. */
  unheard = 0;
  #direction;
  #device;

  /** `device` has `receive(byte)` and gets `line` set, whose `reply(bytes, options)` it may call. */
  constructor(device) {
    super(1, (byte) => {
      if (this.#sending) this.#device.receive(byte);
      else this.unsent++;
    });
    this.#device = device;
    device.line = this;
  }

  attach(chip, machine) {
    super.attach(chip, machine);
    this.#direction = chip.gpio[DIRECTION];
  }

  /** Sends to the Pico after a pause; byte by byte, each heard only if the transceiver receives at that moment. */
  reply(bytes, { afterNanos = 0, options = {} } = {}) {
    this.send(bytes, { afterNanos, options });
  }

  /** Called for each byte on the line, at its end. */
  deliver(byte, options) {
    if (this.#sending) this.unheard++;
    else super.deliver(byte, options);
  }

  get #sending() {
    return this.#direction?.value === GPIOPinState.High;
  }
}
