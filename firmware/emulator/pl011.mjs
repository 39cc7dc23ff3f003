// The RP2040's UART (ARM PL011) with bytes that take their time on the line. It replaces rp2040js's, which sends in no time, is never busy,
// reads DMACR as all ones (embassy takes that for "DMA has it") and raises the transmit interrupt at every access.
// Registers: RP2040 datasheet, section 4.2.8. Left out: flow control, IrDA, the loop-back.

const DR = 0x00, RSR = 0x04, FR = 0x18, IBRD = 0x24, FBRD = 0x28, LCR_H = 0x2c, CR = 0x30, IFLS = 0x34, IMSC = 0x38, RIS = 0x3c, MIS = 0x40, ICR = 0x44,
  DMACR = 0x48;
const FR_BUSY = 1 << 3, FR_RXFE = 1 << 4, FR_TXFF = 1 << 5, FR_RXFF = 1 << 6, FR_TXFE = 1 << 7;
const INT_RX = 1 << 4, INT_TX = 1 << 5, INT_RT = 1 << 6, INT_OE = 1 << 10;
const ERROR_FRAMING = 1 << 8, ERROR_BREAK = 1 << 10, ERROR_OVERRUN = 1 << 11;
const CR_ENABLE = 1, CR_TX = 1 << 8, CR_RX = 1 << 9;
const LCR_PARITY = 1 << 1, LCR_EVEN = 1 << 2, LCR_TWO_STOPS = 1 << 3, LCR_FIFO = 1 << 4;
const LEVELS = [4, 8, 16, 24, 28, 32, 32, 32]; // of 32, by IFLS
const RECEIVE_TIMEOUT_BITS = 32;

export class Pl011 {
  #chip;
  #original;
  #tx = [];
  #shifting = null;
  #rx = [];
  #overrun = false;
  #registers = { [IBRD]: 0, [FBRD]: 0, [LCR_H]: 0, [CR]: CR_TX | CR_RX, [IFLS]: 0x12, [IMSC]: 0, [DMACR]: 0 };
  #raw = 0;
  #shiftDone;
  #quiet;

  /** Takes the place of `original` at `base` (address >> 12). `onByte(byte)` is called when the stop bit of a byte has left the pin. */
  constructor(chip, original, base, onByte) {
    this.#chip = chip;
    this.#original = original;
    this.onByte = onByte;
    this.#shiftDone = chip.clock.createAlarm(() => this.#byteSent());
    this.#quiet = chip.clock.createAlarm(() => {
      if (this.#rx.length === 0) return;
      this.#raw |= INT_RT;
      this.#update();
    });
    chip.peripherals[base] = this;
  }

  /** The line as set: baud, parity `none`/`even`/`odd`, stop bits; `null` while the UART is off. */
  get format() {
    const divider = this.#registers[IBRD] * 64 + this.#registers[FBRD];
    if (!(this.#registers[CR] & CR_ENABLE) || divider === 0) return null;
    const lcr = this.#registers[LCR_H];
    const parity = lcr & LCR_PARITY ? (lcr & LCR_EVEN ? 'even' : 'odd') : 'none';
    const dataBits = 5 + ((lcr >> 5) & 3);
    const stopBits = lcr & LCR_TWO_STOPS ? 2 : 1;
    return { baud: Math.round((this.#chip.clkPeri * 4) / divider), parity, dataBits, stopBits };
  }

  /** Time on the line for one byte. */
  get byteNanos() {
    return this.#bitNanos * this.#bitsPerByte;
  }

  /** A byte (or a line break) has arrived at the pin. */
  receive(byte, { framing = false, lineBreak = false } = {}) {
    if ((this.#registers[CR] & (CR_ENABLE | CR_RX)) !== (CR_ENABLE | CR_RX)) return;
    if (this.#rx.length >= this.#depth) {
      this.#overrun = true;
      this.#raw |= INT_OE;
    } else {
      const errors = (framing || lineBreak ? ERROR_FRAMING : 0) | (lineBreak ? ERROR_BREAK : 0);
      this.#rx.push((lineBreak ? 0 : byte) | errors | (this.#overrun ? ERROR_OVERRUN : 0));
      this.#overrun = false;
      this.#raw |= (errors >> 8) << 7;
      if (this.#rx.length === this.#receiveLevel) this.#raw |= INT_RX;
    }
    this.#quiet.schedule(RECEIVE_TIMEOUT_BITS * this.#bitNanos);
    this.#requestDma();
    this.#update();
  }

  readUint32(offset) {
    switch (offset) {
      case DR: return this.#pull();
      case RSR: return 0;
      case FR: return this.#flags;
      case RIS: return this.#raw;
      case MIS: return this.#raw & this.#registers[IMSC];
      case ICR: return 0;
      default: return this.#registers[offset] ?? this.#original.readUint32(offset);
    }
  }

  writeUint32(offset, value) {
    switch (offset) {
      case DR: return this.#push(value & 0xff);
      case ICR:
        this.#raw &= ~value;
        return this.#update();
      case RSR: case FR: case RIS: case MIS: return;
    }
    if (!(offset in this.#registers)) return;
    this.#registers[offset] = value;
    if (offset === LCR_H && !(value & LCR_FIFO)) this.#tx.length = this.#rx.length = 0;
    if (offset === CR || offset === DMACR) this.#requestDma();
    this.#update();
  }

  writeUint32Atomic(offset, value, kind) {
    const old = kind === 0 ? 0 : this.readUint32(offset);
    this.writeUint32(offset, [value, old ^ value, old | value, old & ~value][kind] >>> 0);
  }

  get #depth() {
    return this.#registers[LCR_H] & LCR_FIFO ? 32 : 1;
  }

  get #receiveLevel() {
    return this.#depth === 1 ? 1 : LEVELS[(this.#registers[IFLS] >> 3) & 7];
  }

  get #transmitLevel() {
    return this.#depth === 1 ? 0 : LEVELS[this.#registers[IFLS] & 7];
  }

  get #bitNanos() {
    return 1e9 / (this.format?.baud ?? 9600);
  }

  get #bitsPerByte() {
    const format = this.format ?? { dataBits: 8, stopBits: 1, parity: 'none' };
    return 1 + format.dataBits + format.stopBits + (format.parity === 'none' ? 0 : 1);
  }

  get #flags() {
    const busy = this.#shifting !== null || this.#tx.length > 0;
    return (busy ? FR_BUSY : 0) | (this.#rx.length === 0 ? FR_RXFE : 0) | (this.#tx.length >= this.#depth ? FR_TXFF : 0) |
      (this.#rx.length >= this.#depth ? FR_RXFF : 0) | (this.#tx.length === 0 ? FR_TXFE : 0);
  }

  #push(byte) {
    if (this.#tx.length < this.#depth) this.#tx.push(byte);
    this.#shift();
    this.#requestDma();
  }

  #shift() {
    if (this.#shifting !== null || this.#tx.length === 0 || (this.#registers[CR] & (CR_ENABLE | CR_TX)) !== (CR_ENABLE | CR_TX)) return;
    this.#shifting = this.#tx.shift();
    // The interrupt comes from falling through the level, not from being below it.
    if (this.#tx.length === Math.min(this.#transmitLevel, this.#depth) || this.#tx.length === 0) this.#raw |= INT_TX;
    this.#shiftDone.schedule(this.byteNanos);
    this.#requestDma();
    this.#update();
  }

  #byteSent() {
    const byte = this.#shifting;
    this.#shifting = null;
    this.onByte(byte);
    this.#shift();
  }

  #pull() {
    const value = this.#rx.shift() ?? 0;
    if (this.#rx.length < this.#receiveLevel) this.#raw &= ~INT_RX;
    if (this.#rx.length === 0) {
      this.#raw &= ~INT_RT;
      this.#quiet.cancel();
    }
    this.#requestDma();
    this.#update();
    return value;
  }

  #requestDma() {
    const { dma } = this.#chip;
    const { rx, tx } = this.#original.dreq;
    const set = (channel, on) => (on ? dma.setDREQ(channel) : dma.clearDREQ(channel));
    set(rx, Boolean(this.#registers[DMACR] & 1) && this.#rx.length > 0);
    set(tx, Boolean(this.#registers[DMACR] & 2) && this.#tx.length < this.#depth);
  }

  #update() {
    this.#chip.setInterrupt(this.#original.irq, Boolean(this.#raw & this.#registers[IMSC]));
  }
}
