// Frames that are none, come twice, come late or from another time; and noise on both serial ports.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { KIND, encodeFrame } from '../relay.mjs';
import { Household } from './household.mjs';

const FRAMES = 1000;
// As many go out before the relay is given time: more than the broker keeps for it would be thrown away by the broker.
const BURST = 20;
const FRAME_MAX = 300;
const READ_LAYOUT = Buffer.from('010400040001700b', 'hex');

let household, board, gateway;
before(async () => {
  household = await Household.make();
  ({ board, gateway } = await household.connected());
});
after(() => household.end());

const lease = (contact, seconds) => Buffer.from([contact, seconds & 0xff, seconds >> 8]);
const assertUnharmed = () => {
  assert.deepEqual(board.machine.resets, []);
  assert.deepEqual(board.machine.faults, []);
  assert.ok(board.isAtBroker, board.console.tail());
};

/** Noise of some kind: nothing like a frame, a damaged one, a whole one that says something odd. */
function noise(random) {
  const bytes = (count) => Buffer.from(Array.from({ length: count }, () => random() & 0xff));
  const kind = random() & 3;
  if (kind === 0) return bytes(random() % (FRAME_MAX + 20));
  const session = random() & 1 ? gateway.session : random();
  // Never a lease in the session that holds: that one would be right.
  const codes = session === gateway.session ? [KIND.status, KIND.identify, KIND.exchange, 6, 0x81, 0xff, 0] : [KIND.lease, KIND.status, KIND.exchange];
  const frame = encodeFrame({
    version: kind === 1 ? random() & 0xff : 1, kind: codes[random() % codes.length], session, sequence: random() & 0xff,
    body: bytes(random() % (kind === 3 ? 30 : FRAME_MAX - 18)),
  });
  if (kind === 2) frame[random() % frame.length] ^= 1 << (random() & 7);
  return frame;
}

test(`${FRAMES} random frames`, async () => {
  const random = () => board.machine.random();
  for (let sent = 0; sent < FRAMES; sent += BURST) {
    for (let i = 0; i < BURST; i++) await gateway.sendRaw(noise(random));
    await board.machine.run({ ms: 150 });
  }
  // What is still on its way: exchanges that the wallbox does not answer may take seconds each.
  await board.machine.run({ ms: 20_000 });
  assertUnharmed();
  assert.deepEqual(board.contactors.driven, []);
  await gateway.hello({ ms: 30_000 });
  assert.equal((await gateway.status()).kind, 'status');
});

test('the same frame twice is done once and answered twice', async () => {
  await gateway.hello();
  const request = { kind: KIND.exchange, session: gateway.session, sequence: 1, body: Buffer.concat([Buffer.from([0xf4, 1, 0, 0]), READ_LAYOUT]) };
  const [before, replies] = [board.wallbox.requests.length, gateway.replies.length];
  await gateway.sendRaw(encodeFrame(request));
  await gateway.sendRaw(encodeFrame(request));
  assert.ok(await board.machine.runUntil(() => gateway.replies.length >= replies + 2, { ms: 3000 }));
  assert.deepEqual(gateway.replies.at(-1), gateway.replies.at(-2));
  assert.equal(board.wallbox.requests.length, before + 1);
});

test('a lease of an earlier session, as of a recording, does nothing', async () => {
  await gateway.hello();
  const old = gateway.session;
  await gateway.hello();
  assert.notEqual(gateway.session, old);
  const reply = await gateway.request(KIND.lease, lease(1, 20), { session: old, sequence: 900 });
  assert.equal(reply.why, 'unknown session');
  assert.ok(!board.contactors.isDriven(1));
});

test('a lower sequence is ignored', async () => {
  await gateway.hello();
  gateway.sequence = 10;
  await gateway.status();
  const replies = gateway.replies.length;
  await gateway.sendRaw(encodeFrame({ kind: KIND.lease, session: gateway.session, sequence: 5, body: lease(1, 20) }));
  await board.machine.run({ ms: 1000 });
  assert.equal(gateway.replies.length, replies);
  assert.ok(!board.contactors.isDriven(1));
});

test('kinds of the future and bodies too short are refused', async () => {
  await gateway.hello();
  assert.equal((await gateway.request(77)).why, 'unknown kind');
  assert.equal((await gateway.request(KIND.lease, Buffer.from([1]))).why, 'malformed');
  assert.equal((await gateway.lease(3, 5)).why, 'no such contact');
  assert.equal((await gateway.request(KIND.identify, Buffer.from([2]))).kind, 'identifying');
});

test('noise on both serial ports, with framing errors and breaks', async () => {
  const random = () => board.machine.random();
  for (let round = 0; round < 20; round++) {
    const bytes = Buffer.from(Array.from({ length: 100 }, () => random() & 0xff));
    const options = { framing: round % 3 === 1, lineBreak: round % 5 === 4 };
    board.console.send(bytes, { options });
    board.rs485.send(bytes, { options });
    await board.machine.run({ ms: 60 });
  }
  assertUnharmed();
  assert.deepEqual(board.contactors.driven, []);
  assert.equal((await gateway.status()).kind, 'status');
  const lines = board.console.lines.length;
  board.console.type('');
  board.console.type('status');
  await board.expectLine(/^up: \d+ s/, { ms: 2000, from: lines });
});
