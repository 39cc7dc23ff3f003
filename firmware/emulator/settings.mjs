// The page of flash that makes a Pico one particular relay: magic, items of tag, length and bytes, an end, CRC-32. Written by its own code.

import { crc32 } from './crc32.mjs';

export const SETTINGS_OFFSET = 0x1f_f000;
export const SETTINGS_BYTES = 4096;

const number = (value, bytes) => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntLE(value, 0, bytes);
  return buffer;
};

/** The bytes of a page. What is left out of `settings` is left out of the page. */
export function settingsPage({ id, ssid, passphrase, host, port, ca, certificate, key, baud }) {
  const text = (value) => value === undefined ? undefined : Buffer.from(value);
  const items = [text(id), text(ssid), text(passphrase), text(host), port && number(port, 2), ca, certificate, key, baud && number(baud, 4)];
  const parts = [Buffer.from('SRP1')];
  items.forEach((bytes, i) => {
    if (bytes !== undefined) parts.push(Buffer.from([i + 1]), number(bytes.length, 2), bytes);
  });
  const content = Buffer.concat([...parts, Buffer.from([0xff])]);
  const page = Buffer.concat([content, number(crc32(content), 4)]);
  if (page.length > SETTINGS_BYTES) throw new Error(`the settings take ${page.length} bytes`);
  return page;
}

/** Puts the blocks of a UF2 file where they belong, as the Pico's boot ROM does (Microsoft's UF2 specification). */
export function writeUf2(machine, file) {
  for (let at = 0; at < file.length; at += 512) {
    const block = file.subarray(at, at + 512);
    const [first, second, flags, address, bytes, , , family] = Array.from({ length: 8 }, (_, i) => block.readUInt32LE(i * 4));
    if (first !== 0x0a324655 || second !== 0x9e5d5157 || block.readUInt32LE(508) !== 0x0ab16f30) throw new Error('no UF2 block');
    if (flags !== 0x2000 || family !== 0xe48bff56 || bytes !== 256) throw new Error('not for an RP2040');
    machine.flash.set(block.subarray(32, 32 + bytes), address - 0x1000_0000);
  }
}

/** Writes a page into a machine's flash, as provisioning would. */
export function writeSettings(machine, settings) {
  machine.flash.fill(0xff, SETTINGS_OFFSET, SETTINGS_OFFSET + SETTINGS_BYTES);
  machine.flash.set(settingsPage(settings), SETTINGS_OFFSET);
}
