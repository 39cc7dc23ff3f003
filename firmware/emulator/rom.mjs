// A boot ROM of our own. rp2040js ships none, and embassy-rp needs only the lookup of functions and those that write flash.
// Each function is a BKPT whose number leads back to JavaScript, and a return; no code of Raspberry Pi's is in it.
// Layout of the tables: RP2040 datasheet, section 2.8.3.

const FLASH_BYTES = 2 * 1024 * 1024;
// W25Q16JV datasheet, typical times: they block the processor, which is what the watchdog and the leases have to bear.
const SECTOR_BYTES = 4096;
const SECTOR_ERASE_NS = 45e6;
const PAGE_BYTES = 256;
const PAGE_PROGRAM_NS = 0.4e6;

const BKPT = 0xbe00;
const BX_LR = 0x4770;
const TABLE_AT = 0x100;
const CODE_AT = 0x400;

/** Puts the ROM into the chip. `busy(ns)` lets time pass; the result is to be called with the number of each BKPT inside the ROM. */
export function installRom(chip, { busy, usbBoot = () => {} }) {
  const rom = new DataView(new ArrayBuffer(16 * 1024));
  const r = chip.core.registers;
  const hooks = [];
  let code = CODE_AT;
  let table = TABLE_AT;

  const define = (hook) => {
    const at = code;
    rom.setUint16(at, BKPT | hooks.length, true);
    rom.setUint16(at + 2, BX_LR, true);
    hooks.push(hook);
    code += 4;
    return at | 1;
  };
  const name = (letters, hook) => {
    rom.setUint16(table, letters.charCodeAt(0) | (letters.charCodeAt(1) << 8), true);
    rom.setUint16(table + 2, define(hook), true);
    table += 4;
  };
  const lookUp = () => {
    const wanted = r[1] & 0xffff;
    for (let at = r[0]; rom.getUint16(at, true) !== 0; at += 4) {
      if (rom.getUint16(at, true) === wanted) {
        r[0] = rom.getUint16(at + 2, true);
        return;
      }
    }
    r[0] = 0;
  };

  // "Mu", 1, and the version of the B1 ROM.
  [0x4d, 0x75, 0x01, 0x02].forEach((byte, i) => rom.setUint8(0x10 + i, byte));
  rom.setUint16(0x14, TABLE_AT, true);
  rom.setUint16(0x16, TABLE_AT - 4, true); // the table of data is empty
  rom.setUint16(0x18, define(lookUp), true);
  for (const letters of ['IF', 'EX', 'FC', 'CX']) name(letters, () => {});
  for (const letters of ['MC', 'C4']) name(letters, () => copy(chip, r[0], r[1], r[2]));
  for (const letters of ['MS', 'S4']) name(letters, () => fill(chip, r[0], r[1], r[2]));
  name('RE', () => {
    const [offset, bytes] = [r[0], r[1]];
    check(offset, bytes, SECTOR_BYTES);
    chip.flash.fill(0xff, offset, offset + bytes);
    busy((bytes / SECTOR_BYTES) * SECTOR_ERASE_NS);
  });
  name('RP', () => {
    const [offset, from, bytes] = [r[0], r[1], r[2]];
    check(offset, bytes, PAGE_BYTES);
    // Programming only clears bits; whoever forgets to erase gets what the real chip would give.
    for (let i = 0; i < bytes; i++) chip.flash[offset + i] &= chip.readUint8(from + i);
    busy((bytes / PAGE_BYTES) * PAGE_PROGRAM_NS);
  });
  name('UB', usbBoot);
  chip.bootrom.set(new Uint32Array(rom.buffer));
  return (number) => hooks[number]?.();
}

function check(offset, bytes, unit) {
  if (offset % unit !== 0 || bytes % unit !== 0 || offset + bytes > FLASH_BYTES) {
    throw new Error(`flash operation out of place: ${bytes} bytes at 0x${offset.toString(16)}`);
  }
}

function copy(chip, to, from, bytes) {
  for (let i = 0; i < bytes; i++) chip.writeUint8(to + i, chip.readUint8(from + i));
}

function fill(chip, to, value, bytes) {
  for (let i = 0; i < bytes; i++) chip.writeUint8(to + i, value & 0xff);
}
