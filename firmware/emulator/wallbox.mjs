// A Heidelberg Energy Control at the end of the RS-485 line, byte by byte: registers, watchdog, states. Layout 1.0.8, unit 1, 19200 8E1.
// Shares no code with what it judges; the CRC is its own. Sources: vendor's register table of 2020-10-20.
//
// Left out, as the simulator in src/sim has it: standby, counters that are lost, locks, phase switching.

const UNIT = 1;
const FORMAT = { baud: 19_200, parity: 'even', dataBits: 8, stopBits: 1 };
const BAUD_TOLERANCE = 0.02;
const SILENCE_NS = 2e6; // 3.5 characters
const ANSWER_NS = 20e6;
const RECOVERY_MS = 9_500;
const WATCHDOG_DEFAULT_MS = 15_000;
const ILLEGAL_FUNCTION = 1, ILLEGAL_ADDRESS = 2, ILLEGAL_VALUE = 3;
const READ_HOLDING = 3, READ_INPUT = 4, WRITE_ONE = 6, WRITE_MANY = 16;
const WATCHDOG = 257, STANDBY = 258, REMOTE_LOCK = 259, CURRENT = 261, FAIL_SAFE = 262;
const MAX_LOG = 1000;

/** CRC-16 of Modbus, low byte first on the line. */
export function modbusCrc(bytes) {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? (crc >>> 1) ^ 0xa001 : crc >>> 1;
  }
  return crc;
}

export function withCrc(bytes) {
  const crc = modbusCrc(bytes);
  return Buffer.from([...bytes, crc & 0xff, crc >> 8]);
}

export class Wallbox {
  /** What the car does: plugged in, and wanting to charge. */
  car = { plugged: false, asks: false };
  /** How many phases are connected to it. */
  phases = () => 3;
  /** Valid requests, as `{ at, function, address, values }`. */
  requests = [];
  /** Frames that were thrown away. */
  badFrames = 0;
  line = null;
  #holding = new Map([[WATCHDOG, WATCHDOG_DEFAULT_MS], [STANDBY, 0], [REMOTE_LOCK, 1], [CURRENT, 0], [FAIL_SAFE, 0]]);
  #frame = [];
  #silence = null;
  #fault = null;
  #fedMs = 0;
  #recoveredMs = 0;

  /** From now on: `silence` answers nothing, `garbage` answers noise, `crc` spoils the check, `short` cuts off the end, `null` is well again. */
  fault(kind) {
    this.#fault = kind;
  }

  /** A holding register as it is. */
  register(address) {
    return this.#holding.get(address);
  }

  /** What it offers to the car in tenths of an ampere. */
  get offered() {
    if (this.#holding.get(REMOTE_LOCK) === 0 || this.#now < this.#recoveredMs) return 0;
    return this.#busLost ? this.#holding.get(FAIL_SAFE) : this.#holding.get(CURRENT);
  }

  /** Register 5. */
  get state() {
    if (this.#holding.get(REMOTE_LOCK) === 0 || (this.#busLost && this.#holding.get(FAIL_SAFE) === 0) || this.#now < this.#recoveredMs) return 10;
    const group = !this.car.plugged ? 2 : this.car.asks ? 6 : 4;
    return group + (this.offered > 0 ? 1 : 0);
  }

  /** What the car draws. */
  get watts() {
    return Math.round((this.#drawn / 10) * (this.phases() > 1 ? 713 : 237));
  }

  /** A byte on the line. */
  receive(byte) {
    const { machine } = this.line;
    machine.cancel(this.#silence);
    if (this.#frame.length < 300) this.#frame.push(byte);
    this.#silence = machine.later(SILENCE_NS, () => this.#frameEnds());
  }

  get #drawn() {
    return this.state === 7 ? this.offered : 0;
  }

  get #now() {
    return this.line.machine.ms;
  }

  get #busLost() {
    const limit = this.#holding.get(WATCHDOG);
    return limit > 0 && this.#now - this.#fedMs > limit;
  }

  #frameEnds() {
    const frame = Buffer.from(this.#frame);
    this.#frame = [];
    if (!this.#understands() || frame.length < 4 || modbusCrc(frame) !== 0) {
      this.badFrames++;
      return;
    }
    if (frame[0] !== UNIT) return;
    if (this.#busLost && this.#holding.get(FAIL_SAFE) === 0) this.#recoveredMs = this.#now + RECOVERY_MS;
    this.#fedMs = this.#now;
    const body = this.#answer(frame[1], frame.subarray(2, -2));
    this.#send(withCrc([UNIT, ...body]));
  }

  #understands() {
    const { format } = this.line;
    return format !== null && Math.abs(format.baud / FORMAT.baud - 1) < BAUD_TOLERANCE && format.parity === FORMAT.parity &&
      format.dataBits === FORMAT.dataBits && format.stopBits === FORMAT.stopBits;
  }

  #send(answer) {
    let bytes = answer;
    if (this.#fault === 'silence') return;
    if (this.#fault === 'garbage') bytes = Buffer.from(answer.map((byte, i) => (byte * 31 + i * 97 + 5) & 0xff));
    if (this.#fault === 'crc') bytes = Buffer.from([...answer.subarray(0, -1), answer.at(-1) ^ 0xff]);
    if (this.#fault === 'short') bytes = answer.subarray(0, -3);
    this.line.reply(bytes, { afterNanos: ANSWER_NS });
  }

  #answer(code, data) {
    const refuse = (exception) => [code | 0x80, exception];
    if (data.length < 4) return refuse(ILLEGAL_VALUE);
    const [address, second] = [data.readUInt16BE(0), data.readUInt16BE(2)];
    if (code === READ_INPUT || code === READ_HOLDING) {
      if (second < 1 || second > 125) return refuse(ILLEGAL_VALUE);
      const read = code === READ_INPUT ? (at) => this.#input(at) : (at) => this.#holding.get(at);
      const values = Array.from({ length: second }, (_, i) => read(address + i));
      if (values.includes(undefined)) return refuse(ILLEGAL_ADDRESS);
      this.#note(code, address, values);
      return [code, second * 2, ...values.flatMap((value) => [(value >> 8) & 0xff, value & 0xff])];
    }
    if (code === WRITE_ONE) return this.#write(code, address, [second]) ?? [code, ...data.subarray(0, 4)];
    if (code === WRITE_MANY) {
      if (data[4] !== second * 2 || data.length !== 5 + second * 2) return refuse(ILLEGAL_VALUE);
      const values = Array.from({ length: second }, (_, i) => data.readUInt16BE(5 + i * 2));
      return this.#write(code, address, values) ?? [code, ...data.subarray(0, 4)];
    }
    return refuse(ILLEGAL_FUNCTION);
  }

  #write(code, address, values) {
    for (const [i, value] of values.entries()) {
      if (!this.#holding.has(address + i)) return [code | 0x80, ILLEGAL_ADDRESS];
      const current = address + i === CURRENT || address + i === FAIL_SAFE;
      if (current && value !== 0 && (value < 60 || value > 160)) return [code | 0x80, ILLEGAL_VALUE];
    }
    values.forEach((value, i) => this.#holding.set(address + i, value));
    this.#note(code, address, values);
    return null;
  }

  #note(code, address, values) {
    if (this.requests.length < MAX_LOG) this.requests.push({ at: this.#now, function: code, address, values });
  }

  #input(address) {
    const [first, others] = [this.#drawn, this.phases() > 1 ? this.#drawn : 0];
    const fixed = { 4: 0x0108, 5: this.state, 6: first, 7: others, 8: others, 9: 325, 10: 237, 11: 238, 12: 238, 13: 1, 15: 0, 16: 0, 17: 0, 18: 0, 100: 16, 101: 6, 200: 1 };
    if (address === 14) return this.watts;
    return fixed[address];
  }
}
