// From power-on to an answer through a real broker.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Board } from '../board.mjs';
import { Broker, freePort } from '../broker.mjs';
import { BROKER_IP, Household, START_MS, elf } from './household.mjs';

// What the driver has to upload: 43439A0.bin of Infineon's firmware 7.95.61.
const RADIO_FIRMWARE = '5555e0261da2610a500d68c18d895cace0152bbefbf76f4aa683ebce77e3d7eb';

let household;
before(async () => (household = await Household.make()));
after(() => household.end());

test('boots, joins the Wi-Fi, reaches the broker over TLS with its certificate, and answers', async (t) => {
  const board = household.board();
  const gateway = await household.gateway(board);
  board.powerOn();
  for (const pattern of [/^reset: power on/, /^wifi: joined carport/, /^net: address 10\.0\.0\.2/, /^broker: connected/]) {
    const line = await board.expectLine(pattern, { ms: START_MS });
    t.diagnostic(`${(line.at / 1e6).toFixed(0)} ms: ${line.text}`);
  }
  assert.equal(board.wifi.firmwareHash, RADIO_FIRMWARE);
  const welcome = await gateway.hello();
  assert.equal(welcome.kind, 'welcome');
  assert.deepEqual(welcome.versions, [1, 1]);
  assert.notEqual(gateway.session, 0);
  const status = await gateway.status();
  assert.equal(status.reset, 'power on');
  assert.ok(status.rssiDbm < 0, `signal ${status.rssiDbm} dBm`);
  assert.deepEqual(status.contacts.map(({ closed, welded }) => closed || welded), [false, false]);
  assert.equal(gateway.presence, 'online');
  assert.match(household.broker.log, /pico-carport/);
  await board.expectLine(/^peaks: stack \d+ heap \d+/, { ms: 1000 });
  t.diagnostic(board.console.find(/^peaks:/).text);
  assert.deepEqual(board.machine.faults, []);
});

test('finds a broker that is given by its address, by a certificate for that address', async () => {
  household.pki.issue('numbered', { issuer: 'authority', ip: [BROKER_IP], use: 'serverAuth' });
  const broker = new Broker({ pki: household.pki, port: await freePort(), certificate: 'numbered' });
  await broker.start();
  const board = household.board({ settings: { host: BROKER_IP }, hostPort: broker.port });
  board.powerOn();
  try {
    await board.expectLine(/^broker: connected/, { ms: START_MS });
  } finally {
    await broker.stop();
  }
});

test('without settings it says so, keeps the contacts open and asks no network for anything', async () => {
  const board = new Board({ elf: elf() });
  board.powerOn();
  await board.expectLine(/^settings: none/, { ms: 2000 });
  await board.machine.run({ ms: 5000 });
  assert.deepEqual(board.contactors.driven, []);
  assert.deepEqual(board.accessPoint.attempts, []);
  assert.deepEqual(board.machine.resets, []);
  board.console.type('status');
  await board.expectLine(/^contact 2 open/, { ms: 1000 });
});

test('a damaged page of settings is as good as none', async () => {
  const board = household.board();
  board.machine.flash[0x1f_f000 + 60] ^= 1;
  board.powerOn();
  await board.expectLine(/^settings: none/, { ms: 2000 });
  assert.deepEqual(board.machine.resets, []);
});
