// Reads what is to be written into flash from a 32-bit little-endian ARM ELF file. Knows segments only; symbols and sections stay unread.

const PROGRAM_LOAD = 1;
const FLASH_BASE = 0x1000_0000;
const FLASH_BYTES = 2 * 1024 * 1024;

/** The image in flash as `[{ offset, bytes }]`, offsets counted from the start of flash. */
export function flashSegments(file) {
  if (file.length < 52 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 1 || file[5] !== 1) {
    throw new Error('not a 32-bit little-endian ELF file');
  }
  const tableAt = file.readUInt32LE(28);
  const entryBytes = file.readUInt16LE(42);
  const entries = file.readUInt16LE(44);
  const segments = [];
  for (let i = 0; i < entries; i++) {
    const at = tableAt + i * entryBytes;
    const bytes = file.readUInt32LE(at + 16);
    if (file.readUInt32LE(at) !== PROGRAM_LOAD || bytes === 0) continue;
    // The physical address: .data lies in flash and is copied to RAM by the start-up code.
    const offset = file.readUInt32LE(at + 12) - FLASH_BASE;
    if (offset < 0 || offset + bytes > FLASH_BYTES) continue;
    const start = file.readUInt32LE(at + 4);
    segments.push({ offset, bytes: file.subarray(start, start + bytes) });
  }
  if (segments.length === 0) throw new Error('the ELF file has nothing for flash');
  return segments;
}
