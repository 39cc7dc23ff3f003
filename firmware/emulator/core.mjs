// The frequent Thumb instructions, decoded by table and with memory as typed arrays: some four times as fast as rp2040js's chain of comparisons,
// which is what makes a TLS handshake per test affordable. Everything else (exceptions, special registers, hints, peripherals) stays with
// rp2040js, on the same registers and flags, so the two can be compared instruction by instruction (tests/core.test.mjs does).
// Encodings: ARMv6-M Architecture Reference Manual, chapter A5 and A6.

import {
  ADDRESS, BRANCH, DATA, HIGH, IMMEDIATE, LOAD_STORE, MULTIPLE, OFFSET, SHIFT_ADD, SLOW, addressOf, arithmeticOf, branchOf, transferOf,
} from './thumb.mjs';

const RAM = 0x2000_0000, RAM_BYTES = 264 * 1024;
const FLASH = 0x1000_0000, FLASH_BYTES = 16 * 1024 * 1024;

const TABLE = buildTable();

function buildTable() {
  const table = new Uint8Array(0x10000);
  for (let code = 0; code < 0x10000; code++) table[code] = classify(code);
  return table;
}

function classify(code) {
  const top5 = code >> 11;
  if (top5 < 3) return SHIFT_ADD | top5;
  if (top5 === 3) return SHIFT_ADD | (4 + ((code >> 9) & 3));
  if (top5 < 8) return IMMEDIATE | (top5 - 4);
  if (code >> 10 === 0b010000) return DATA | ((code >> 6) & 15);
  const oddJump = code >> 8 === 0x47 && ((code & 7) !== 0 || ((code >> 3) & 15) === 15); // undefined, or to the PC itself
  if (code >> 10 === 0b010001) return oddJump ? SLOW : HIGH | ((code >> 8) & 3);
  if (top5 === 9) return OFFSET | 8;
  if (code >> 12 === 5) return LOAD_STORE | ((code >> 9) & 7);
  if (top5 >= 12 && top5 < 20) return OFFSET | (top5 - 12);
  if (top5 === 20 || top5 === 21) return ADDRESS | (top5 - 20);
  if (code >> 8 === 0xb0) return ADDRESS | (2 + ((code >> 7) & 1));
  if (code >> 8 === 0xb2) return ADDRESS | (4 + ((code >> 6) & 3));
  if (code >> 6 === 0b1011101000) return ADDRESS | 8;
  if (code >> 9 === 0b1011010) return MULTIPLE | 0;
  if (code >> 9 === 0b1011110) return MULTIPLE | 1;
  if (top5 === 24 || top5 === 25) return MULTIPLE | (top5 - 22);
  if (code >> 12 === 13 && ((code >> 8) & 15) < 14) return BRANCH | 0;
  if (top5 === 28) return BRANCH | 1;
  if (top5 === 30) return BRANCH | 2;
  return SLOW;
}

/**
 * Gives `run(cycles, cycleNanos)`: executes instructions for about so many cycles and moves the clock on. It ends early after an instruction that
 * may have changed anything outside of registers and memory, so alarms due are never more than one such instruction late. `run` rings no alarms.
 */
export function fastCore(chip) {
  const { core, clock } = chip;
  const r = core.registers;
  const ram8 = chip.sram, ram16 = new Uint16Array(ram8.buffer), ram32 = new Uint32Array(ram8.buffer);
  const flash8 = chip.flash, flash16 = new Uint16Array(flash8.buffer), flash32 = new Uint32Array(flash8.buffer);
  let pending = 0; // cycles that the clock does not know of yet
  let nanos = 8;
  let ended = false;
  const leave = () => {
    clock.nanosCounter += pending * nanos;
    pending = 0;
    ended = true;
  };
  const memory = memoryOf(chip, leave, { ram8, ram16, ram32, flash8, flash16, flash32 });
  const arithmetic = arithmeticOf(core, r);
  const address = addressOf(core, r);
  const transfer = transferOf(core, r, memory);
  const slowly = () => {
    leave();
    return core.executeInstruction();
  };
  const branch = branchOf(core, r, slowly, (at) => (at >= FLASH && at < FLASH + FLASH_BYTES ? flash16[(at - FLASH) >>> 1] : ram16[(at - RAM) >>> 1]));
  const step = () => {
    const pc = r[15];
    let code;
    if (pc >= FLASH && pc < FLASH + FLASH_BYTES) code = flash16[(pc - FLASH) >>> 1];
    else if (pc >= RAM && pc < RAM + RAM_BYTES) code = ram16[(pc - RAM) >>> 1];
    else return slowly();
    const entry = TABLE[code];
    if (entry === SLOW || core.interruptsUpdated) return slowly();
    r[15] = pc + 2;
    if (entry < HIGH) return arithmetic(entry, code);
    if (entry < LOAD_STORE) return branch.high(entry, code);
    if (entry < ADDRESS) return transfer.one(entry, code);
    if (entry < MULTIPLE) return address(entry, code);
    return entry < BRANCH ? transfer.many(entry, code) : branch.near(entry, code);
  };
  return function run(cycles, cycleNanos) {
    nanos = cycleNanos;
    ended = false;
    do {
      const taken = step(); // may set `pending` to 0, so it comes before the sum
      pending += taken;
    } while (!ended && pending < cycles);
    leave();
  };
}

function memoryOf(chip, leave, { ram8, ram16, ram32, flash8, flash16, flash32 }) {
  const inRam = (at) => at >= RAM && at < RAM + RAM_BYTES;
  const inFlash = (at) => at >= FLASH && at < FLASH + FLASH_BYTES;
  const outside = (access) => (at, value) => {
    leave();
    return chip[access](at, value);
  };
  // A hard fault on the chip; the machine makes one of what is logged as an error.
  const misaligned = (at) => {
    leave();
    chip.logger.error('core', `misaligned access to 0x${at.toString(16)}`);
    return 0;
  };
  const [read32, read16, read8] = ['readUint32', 'readUint16', 'readUint8'].map(outside);
  const [write32, write16, write8] = ['writeUint32', 'writeUint16', 'writeUint8'].map(outside);
  return {
    /** Cycles beside the one for the instruction. */
    cycles: (at, write) => (at < 0x4000_0000 ? 1 : chip.core.cyclesIO(at, write)),
    load32: (at) => (at & 3 ? misaligned(at) : inRam(at) ? ram32[(at - RAM) >>> 2] : inFlash(at) ? flash32[(at - FLASH) >>> 2] : read32(at)),
    load16: (at) => (at & 1 ? misaligned(at) : inRam(at) ? ram16[(at - RAM) >>> 1] : inFlash(at) ? flash16[(at - FLASH) >>> 1] : read16(at)),
    load8: (at) => (inRam(at) ? ram8[at - RAM] : inFlash(at) ? flash8[at - FLASH] : read8(at)),
    store32(at, value) {
      if (at & 3) misaligned(at);
      else if (inRam(at)) ram32[(at - RAM) >>> 2] = value;
      else write32(at, value);
    },
    store16(at, value) {
      if (at & 1) misaligned(at);
      else if (inRam(at)) ram16[(at - RAM) >>> 1] = value;
      else write16(at, value & 0xffff);
    },
    store8(at, value) {
      if (inRam(at)) ram8[at - RAM] = value;
      else write8(at, value & 0xff);
    },
  };
}
