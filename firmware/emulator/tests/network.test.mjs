// The Wi-Fi and the network go away in every way they can, and the relay comes back by itself.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { Household, PORT, START_MS } from './household.mjs';

// The longest wait between two attempts is a minute and a half.
const BACK_MS = 120_000;
// After this time the relay takes a silent broker for gone, by firmware/pico-relay/src/broker.rs.
const SILENT_MS = 25_000;

let household, board, gateway;
before(async () => {
  household = await Household.make();
  ({ board, gateway } = await household.connected());
});
after(() => household.end());
// A connection that lasted half a minute makes the next attempts quick again.
beforeEach(async () => {
  if (board.isAtBroker) await board.machine.run({ ms: 31_000 });
});

async function assertAnswers() {
  await gateway.hello();
  assert.equal((await gateway.status()).kind, 'status');
  assert.deepEqual(board.machine.resets, [], 'it came back without a restart');
  assert.deepEqual(board.machine.faults, []);
}

test('the access point goes away and comes back', async () => {
  const lines = board.console.lines.length;
  board.accessPoint.down();
  await board.expectLine(/^wifi: lost/, { ms: 5000, from: lines });
  await board.machine.run({ ms: 20_000 });
  assert.ok(board.accessPoint.attempts.filter(({ result }) => result === 'no network').length >= 2, 'it tries again and again');
  board.accessPoint.up();
  await board.expectLine(/^wifi: joined/, { ms: BACK_MS, from: lines });
  await board.atBroker({ ms: BACK_MS });
  await assertAnswers();
});

test('the access point sends it away', async () => {
  const lines = board.console.lines.length;
  board.accessPoint.deauthenticate();
  await board.expectLine(/^wifi: joined/, { ms: BACK_MS, from: lines });
  await board.atBroker({ ms: BACK_MS });
  await assertAnswers();
});

test('nothing gets through for a while, though the radio is fine', async () => {
  const lines = board.console.lines.length;
  board.network.cut();
  await board.expectLine(/^broker: /, { ms: SILENT_MS + 15_000, from: lines });
  board.network.mend();
  await board.atBroker({ ms: BACK_MS });
  await assertAnswers();
});

test('the broker goes away and comes back', async () => {
  const lines = board.console.lines.length;
  await household.broker.stop();
  await board.expectLine(/^broker: /, { ms: 5000, from: lines });
  await board.machine.run({ ms: 10_000 });
  await household.broker.start();
  gateway = await household.gateway(board);
  await board.atBroker({ ms: BACK_MS });
  await assertAnswers();
});

test('a router that has lost its table, and a broker that refuses connections', async () => {
  board.network.refuse(PORT);
  board.network.tcp.resetAll();
  const attempts = board.network.tcp.attempts;
  await board.machine.run({ ms: 20_000 });
  const tried = board.network.tcp.attempts - attempts;
  assert.ok(tried >= 3 && tried <= 10, `it tries again, but not all the time: ${tried} times`);
  board.network.accept(PORT);
  await board.atBroker({ ms: BACK_MS });
  await assertAnswers();
});

test('no answer to the question for the broker’s name', async () => {
  const lines = board.console.lines.length;
  board.network.dns = false;
  board.network.tcp.resetAll();
  await board.expectLine(/^broker: .*name/, { ms: 60_000, from: lines });
  board.network.dns = true;
  await board.atBroker({ ms: BACK_MS });
  await assertAnswers();
});

test('one frame in five gets lost', async () => {
  const lines = board.console.lines.length;
  board.network.loss = 0.2;
  board.network.tcp.resetAll();
  await board.expectLine(/^broker: connected/, { ms: 2 * BACK_MS, from: lines });
  // A connection may well break under this; the gateway repeats what is not answered, and so does the test.
  let answered = 0;
  for (let tries = 0; tries < 10 && answered < 3; tries++) {
    await board.atBroker({ ms: 2 * BACK_MS });
    answered += await gateway.hello({ ms: 15_000 }).then(() => 1, () => 0);
  }
  board.network.loss = 0;
  assert.equal(answered, 3);
  assert.deepEqual(board.machine.resets, []);
  assert.deepEqual(board.machine.faults, []);
});

test('a wrong passphrase: says so, keeps trying, and joins once it is right', async () => {
  const other = household.board({ settings: { passphrase: 'another passphrase' } });
  other.powerOn();
  await other.expectLine(/^wifi: .*Authentication/, { ms: START_MS });
  await other.machine.run({ ms: 20_000 });
  assert.ok(other.accessPoint.attempts.length >= 2);
  assert.ok(other.accessPoint.attempts.every(({ result }) => result === 'wrong passphrase'));
  assert.equal(other.network.tcp.attempts, 0);
  other.accessPoint.passphrase = 'another passphrase';
  await other.expectLine(/^net: address/, { ms: BACK_MS });
});
