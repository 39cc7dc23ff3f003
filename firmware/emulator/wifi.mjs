// The CYW43439 as the driver cyw43 0.7 sees it over gSPI: bus registers, backplane with cores and RAM, and behind them a "firmware" that answers
// control requests and joins an access point. The uploaded firmware is hashed, not run.
//
// Written from the driver's expectations; the register names are those of its consts.rs.

import { createHash } from 'node:crypto';
import { Firmware } from './wlan.mjs';

const RAM_BYTES = 512 * 1024;
const FIRMWARE_BYTES = 231_077;
const FUNCTION_BUS = 0, FUNCTION_BACKPLANE = 1, FUNCTION_WLAN = 2;
const BUS_CONTROL = 0x00, BUS_INTERRUPT = 0x04, BUS_STATUS = 0x08, BUS_TEST_RO = 0x14;
const TEST_RO = [0xad, 0xbe, 0xed, 0xfe];
const STATUS_F2_RX_READY = 0x20, STATUS_F2_PACKET = 0x100, INTERRUPT_F2_PACKET = 0x20;
const ADDRESS_LOW = 0x1000a, ADDRESS_MID = 0x1000b, ADDRESS_HIGH = 0x1000c, CLOCK_CSR = 0x1000e;
const ALP_REQUEST = 0x08, ALP_AVAILABLE = 0x40, HT_AVAILABLE = 0x80;
const CHIP_ID = 0x1800_0000, WLAN_WRAPPER = 0x1810_3000, RAM_WRAPPER = 0x1810_4000;
const IO_CONTROL = 0x408, RESET_CONTROL = 0x800;

const swapHalves = (word) => ((word << 16) | (word >>> 16)) >>> 0;

export class Wifi {
  /** SHA-256 of what the driver has uploaded as firmware. */
  firmwareHash = null;
  onInterrupt = () => {};
  #on = false;

  constructor({ accessPoint, mac = [0x28, 0xcd, 0xc1, 0x01, 0x02, 0x03] }) {
    this.wlan = new Firmware({ accessPoint, mac, onQueue: () => this.onInterrupt() });
    this.#clear();
  }

  attach(_chip, machine) {
    this.wlan.machine = machine;
  }

  get interrupt() {
    return this.#on && this.wlan.queue.length > 0;
  }

  power(on) {
    if (on === this.#on) return;
    this.#on = on;
    this.#clear();
    this.onInterrupt();
  }

  /** Words the host sends in a transfer that begins with this one. */
  wordsFor(first) {
    const { write, bytes } = this.#command(first);
    return 1 + (write ? Math.ceil(bytes / 4) : 0);
  }

  /** One transfer. Gives what the host clocks in, which ends with the status word. */
  transfer(words) {
    if (!this.#on) return [];
    const wide = this.#wide;
    const order = (word) => (wide ? word : swapHalves(word));
    const { write, where, address, bytes } = this.#command(words[0]);
    const reply = [];
    if (write) {
      const data = Buffer.alloc((words.length - 1) * 4);
      words.slice(1).forEach((word, i) => data.writeUInt32LE(order(word), i * 4));
      this.#write(where, address, data.subarray(0, bytes));
    } else {
      const data = Buffer.concat([this.#read(where, address, bytes), Buffer.alloc(3)]);
      if (where === FUNCTION_BACKPLANE && wide) reply.push(0); // the response delay
      for (let i = 0; i < bytes; i += 4) reply.push(order(data.readUInt32LE(i)));
    }
    reply.push(this.#status);
    return reply;
  }

  #clear() {
    this.#wide = false;
    this.#window = 0;
    this.#bus = new Uint8Array(0x20);
    this.#control = new Uint8Array(0x20);
    this.#ram = new Uint8Array(RAM_BYTES);
    this.#registers = new Map([[CHIP_ID, 0xaf], [CHIP_ID + 1, 0xa9], [WLAN_WRAPPER + RESET_CONTROL, 1], [RAM_WRAPPER + RESET_CONTROL, 1]]);
    this.wlan.stop();
  }

  #wide;
  #window;
  #bus;
  #control;
  #ram;
  #registers;

  #command(first) {
    const word = this.#wide ? first : swapHalves(first);
    return { write: word >>> 31 === 1, where: (word >>> 28) & 3, address: (word >>> 11) & 0x1ffff, bytes: word & 0x7ff || 2048 };
  }

  get #status() {
    const [next] = this.wlan.queue;
    return STATUS_F2_RX_READY | (next ? STATUS_F2_PACKET | (next.length << 9) : 0);
  }

  #read(where, address, bytes) {
    const out = Buffer.alloc(bytes);
    if (where === FUNCTION_WLAN) this.wlan.queue.shift()?.copy(out);
    else for (let i = 0; i < bytes; i++) out[i] = where === FUNCTION_BUS ? this.#readBus(address + i) : this.#readBackplane(address + i);
    return out;
  }

  #readBus(address) {
    if (address === BUS_INTERRUPT) return this.wlan.queue.length > 0 ? INTERRUPT_F2_PACKET : 0;
    if (address >= BUS_STATUS && address < BUS_STATUS + 4) return (this.#status >>> ((address - BUS_STATUS) * 8)) & 0xff;
    if (address >= BUS_TEST_RO && address < BUS_TEST_RO + 4) return TEST_RO[address - BUS_TEST_RO];
    return this.#bus[address] ?? 0;
  }

  #readBackplane(address) {
    if (address < 0x10000) {
      const at = (this.#window + (address & 0x7fff)) >>> 0;
      return at < RAM_BYTES ? this.#ram[at] : (this.#registers.get(at) ?? 0);
    }
    const value = this.#control[address & 0x1f];
    if (address !== CLOCK_CSR) return value;
    return value | (value & ALP_REQUEST ? ALP_AVAILABLE : 0) | (this.wlan.running ? HT_AVAILABLE : 0);
  }

  #write(where, address, data) {
    if (where === FUNCTION_WLAN) {
      this.wlan.take(Buffer.from(data));
    } else if (where === FUNCTION_BUS) {
      data.forEach((byte, i) => {
        const at = address + i;
        if (at !== BUS_INTERRUPT && at !== BUS_INTERRUPT + 1 && at < 0x20) this.#bus[at] = byte;
      });
      if (address === BUS_CONTROL && data[0] & 1) this.#wide = true;
    } else if (address < 0x10000) {
      const base = this.#window + (address & 0x7fff);
      data.forEach((byte, i) => this.#writeBackplane((base + i) >>> 0, byte));
    } else {
      data.forEach((byte, i) => (this.#control[(address + i) & 0x1f] = byte));
      const shift = { [ADDRESS_LOW]: 8, [ADDRESS_MID]: 16, [ADDRESS_HIGH]: 24 }[address];
      if (shift) this.#window = ((this.#window & ~(0xff << shift)) | (data[0] << shift)) >>> 0;
    }
  }

  #writeBackplane(at, byte) {
    if (at < RAM_BYTES) {
      this.#ram[at] = byte;
      return;
    }
    const before = this.#coreRuns;
    this.#registers.set(at, byte);
    if (!before && this.#coreRuns) this.#startFirmware();
  }

  get #coreRuns() {
    const clocked = ((this.#registers.get(WLAN_WRAPPER + IO_CONTROL) ?? 0) & 3) === 1;
    return clocked && !((this.#registers.get(WLAN_WRAPPER + RESET_CONTROL) ?? 0) & 1);
  }

  // The NVRAM lies at the top of RAM; the last word holds its length in words and the complement.
  #startFirmware() {
    const ram = Buffer.from(this.#ram.buffer);
    const magic = ram.readUInt32LE(RAM_BYTES - 4);
    const words = magic & 0xffff;
    const nvram = ram.subarray(RAM_BYTES - 4 - words * 4, RAM_BYTES - 4).toString('latin1');
    this.firmwareHash = createHash('sha256').update(ram.subarray(0, FIRMWARE_BYTES)).digest('hex');
    if (((magic >>> 16) ^ 0xffff) === words && nvram.includes('boardtype=0x0887')) this.wlan.start();
  }
}
