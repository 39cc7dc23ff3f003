// A whole RP2040 that runs an ELF file: flash that outlives resets, resets that rebuild the chip, simulated time that goes on through them.
//
//   powerOn ──▶ running ──▶ watchdog, AIRCR: chip rebuilt; flash, RAM's contents and the watchdog's scratch registers stay
//                  │──────▶ hard fault in a hard fault: locked up, until the watchdog comes
//                  └──────▶ powerCycle: only flash stays
//
// Devices (radio, console, wallbox, contacts) have `attach(chip, machine)`, called for each new chip.

import { readFileSync } from 'node:fs';
import { RP2040 } from 'rp2040js';
import { fastCore } from './core.mjs';
import { flashSegments } from './elf.mjs';
import { Pacer } from './pacer.mjs';
import { patchChip } from './patches.mjs';
import { installRom } from './rom.mjs';

const SLICE_NS = 1e6;
const PIO_STEP_NS = 16; // 125 MHz divided by 2, as cyw43-pio sets it
const VECTORS_AT = 0x100; // after the second-stage boot loader, which is not run
const WATCHDOG = 0x40058;
const HARD_FAULT = 3;
const MAX_FAULTS = 32;
// Flash that neither the program nor the settings use, for `divert`.
const SPARE_AT = 0x1f_e000;
export const LOOP_FOREVER = 0xe7fe, UNDEFINED_INSTRUCTION = 0xde00;

export class Machine {
  /** What went wrong inside the chip: hard faults and accesses to addresses where nothing is. */
  faults = [];
  /** `[{ at, cause }]`, times in nanoseconds since power-on; causes `watchdog`, `trigger`, `software`. */
  resets = [];
  pacer = new Pacer();
  #flash = new Uint8Array(16 * 1024 * 1024).fill(0xff);
  #devices = [];
  #timers = new Set();
  #bootedAt = 0;
  #sliceEnd = 0;
  #resetCause = null;
  #lockedUp = false;
  #state;

  /** `seed` makes the chip's random bits, and the contents of RAM at power-on, repeatable. */
  constructor({ elf, seed = 1 }) {
    for (const { offset, bytes } of flashSegments(readFileSync(elf))) this.#flash.set(bytes, offset);
    this.#state = seed >>> 0 || 1;
  }

  /** Simulated nanoseconds since the machine was made; goes on through resets. */
  get nanos() {
    return this.#bootedAt + (this.chip?.clock.nanos ?? 0);
  }

  get ms() {
    return this.nanos / 1e6;
  }

  get flash() {
    return this.#flash;
  }

  /** Adds a device. Devices must be there before power-on. */
  add(device) {
    this.#devices.push(device);
    return device;
  }

  powerOn() {
    this.#build(null);
  }

  powerCycle() {
    this.#bootedAt = this.nanos;
    this.chip = null;
    this.#build(null);
  }

  /** Calls `callback` after so many simulated nanoseconds, whatever happens to the chip until then. Gives what `cancel` takes. */
  later(nanos, callback) {
    const timer = { due: this.nanos + Math.max(nanos, 0), callback };
    this.#timers.add(timer);
    this.#arm(timer);
    return timer;
  }

  cancel(timer) {
    if (!timer) return;
    timer.alarm?.cancel();
    this.#timers.delete(timer);
  }

  /** Runs for so much simulated time. */
  async run({ ms }) {
    await this.runUntil(() => false, { ms });
  }

  /** Runs until `predicate` holds, at most for so much simulated time; says whether it held. Looked at every simulated millisecond. */
  async runUntil(predicate, { ms }) {
    const end = this.nanos + ms * 1e6;
    while (!predicate()) {
      if (this.nanos >= end) return false;
      this.#slice(Math.min(this.nanos + SLICE_NS, end));
      await this.pacer.pace(this.nanos);
    }
    return true;
  }

  /** Stops the current slice after this instruction, so that a predicate is looked at. */
  interrupt() {
    this.#sliceEnd = -1;
  }

  /** The processor stops for good, interrupts and all, as if its bus had hung; only a reset helps. */
  freeze() {
    this.#lockedUp = true;
  }

  /** The code at thread level goes to this instruction instead of where it was; interrupts go on. Runs until it is there. */
  async divert(instruction) {
    this.chip.flashView.setUint16(SPARE_AT, instruction, true);
    const { core } = this.chip;
    if (!(await this.runUntil(() => core.IPSR === 0, { ms: 100 }))) throw new Error('never at thread level');
    core.PC = 0x1000_0000 + SPARE_AT;
    core.waiting = false;
  }

  /** 32 random bits, repeatable (xorshift). */
  random() {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  #slice(until) {
    this.#sliceEnd = until - this.#bootedAt;
    const { core, clock, clkSys } = this.chip;
    const cycleNanos = 1e9 / clkSys;
    while (clock.nanosCounter < this.#sliceEnd) {
      const pio = this.#stepPio();
      const alarm = clock.nextAlarm;
      const rest = Math.max(Math.min(alarm === null ? Infinity : alarm.nanos, this.#sliceEnd) - clock.nanosCounter, 0);
      if (!core.waiting && !this.#lockedUp) {
        this.#runCore(pio ? 1 : rest / cycleNanos, cycleNanos);
        clock.tick(0);
      } else {
        clock.tick(pio ? PIO_STEP_NS : rest);
      }
    }
    if (this.#resetCause) this.#reset();
  }

  #requestReset(cause) {
    this.#resetCause ??= cause;
    this.interrupt();
  }

  #reset() {
    const cause = this.#resetCause;
    this.resets.push({ at: this.nanos, cause });
    const old = this.chip;
    this.#bootedAt = this.nanos;
    this.chip = null;
    const { scratchData } = old.peripherals[WATCHDOG];
    this.#build({ ram: old.sram, scratch: scratchData, reason: { watchdog: 1, trigger: 2, software: 0 }[cause] });
  }

  #build(kept) {
    const chip = new RP2040();
    this.chip = chip;
    this.#resetCause = null;
    this.#lockedUp = false;
    chip.flash = this.#flash;
    chip.flash16 = new Uint16Array(this.#flash.buffer);
    chip.flashView = new DataView(this.#flash.buffer);
    const romCall = installRom(chip, { busy: (ns) => chip.clock.tick(ns), usbBoot: () => this.#note('asked for the USB boot loader') });
    chip.onBreak = (number) => {
      if (chip.core.PC < 0x4000) romCall(number);
      else this.#hardFault(`undefined instruction or breakpoint at 0x${(chip.core.PC - 2).toString(16)}`);
    };
    this.#stepPio = patchChip(chip, {
      onReset: () => this.#requestReset('software'),
      onBadAddress: (text) => this.#hardFault(text),
      random: () => this.random() & 1,
    });
    this.#prepareWatchdog(chip, kept);
    if (kept) chip.sram.set(kept.ram);
    else for (let i = 0; i < chip.sram.length; i++) chip.sram[i] = this.random();
    this.#runCore = fastCore(chip);
    const { core } = chip;
    core.VTOR = 0x1000_0000 + VECTORS_AT;
    core.SP = chip.flashView.getUint32(VECTORS_AT, true);
    core.PC = chip.flashView.getUint32(VECTORS_AT + 4, true) & ~1;
    for (const timer of this.#timers) this.#arm(timer);
    for (const device of this.#devices) device.attach(chip, this);
  }

  #stepPio = () => false;
  #runCore = () => {};

  #prepareWatchdog(chip, kept) {
    const watchdog = chip.peripherals[WATCHDOG];
    watchdog.onWatchdogTrigger = () => {
      // Left on, its alarm would ring again and again within the same instant.
      watchdog.alarm.enable = false;
      this.#requestReset(watchdog.reason === 1 ? 'watchdog' : 'trigger');
    };
    if (!kept) return;
    watchdog.scratchData.set(kept.scratch);
    watchdog.reason = kept.reason;
  }

  #arm(timer) {
    if (!this.chip) return;
    timer.alarm = this.chip.clock.createAlarm(() => {
      this.#timers.delete(timer);
      timer.callback();
    });
    timer.alarm.schedule(Math.max(timer.due - this.nanos, 0));
  }

  #hardFault(text) {
    this.#note(text);
    const { core } = this.chip;
    if (core.IPSR === HARD_FAULT) {
      this.#lockedUp = true;
      return;
    }
    // The instruction under way may still write the PC; the exception comes once it is through.
    const alarm = this.chip.clock.createAlarm(() => {
      core.exceptionEntry(HARD_FAULT);
      core.PC &= ~1;
      core.waiting = false;
    });
    alarm.schedule(0);
  }

  #note(text) {
    if (this.faults.length < MAX_FAULTS) this.faults.push(`${this.ms.toFixed(3)} ms: ${text}`);
  }
}
