// What must never happen is a contact that stays closed. Times are those of the simulated clock.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { LOOP_FOREVER, UNDEFINED_INSTRUCTION } from '../machine.mjs';
import { Household, START_MS } from './household.mjs';

// The relay counts from when it has the request, sets its outputs every 20 ms, and 1 ms goes on the way.
const TOLERANCE_MS = 60;
// The hardware watchdog's patience.
const WATCHDOG_MS = 1000;
// How long the thread level may be stuck before the watchdog is no longer fed, by firmware/pico-relay/src/health.rs.
const STUCK_MS = 8000;

let household, board, gateway;
before(async () => {
  household = await Household.make();
  ({ board, gateway } = await household.connected());
});
after(() => household.end());

/** A session with a relay that is at the broker, after whatever the last test did to it. */
async function ready() {
  board.accessPoint.up();
  await board.atBroker({ ms: 90_000 });
  await gateway.hello();
}

/** Closes contact 1 and gives the moment, in simulated milliseconds, at which the lease ends. */
async function close(seconds) {
  const leased = await gateway.lease(1, seconds);
  assert.equal(leased.kind, 'leased');
  const end = board.machine.ms + leased.leftMs;
  assert.ok(await board.machine.runUntil(() => board.contactors.isClosed(1), { ms: 100 }), 'contact 1 closes');
  return end;
}

function assertOpenedAt(expectedMs, tolerance = TOLERANCE_MS) {
  const openedAt = board.contactors.openedAtMs(1);
  assert.ok(openedAt !== null && !board.contactors.isDriven(1), 'contact 1 is open');
  assert.ok(Math.abs(openedAt - expectedMs) <= tolerance, `opened at ${openedAt.toFixed(1)} ms, expected at ${expectedMs.toFixed(1)} ms`);
}

test('a lease closes a contact, shows it as read back, and opens it when it ends', async () => {
  await ready();
  const end = await close(3);
  const status = await gateway.status();
  assert.deepEqual(status.contacts.map(({ closed, readBack }) => [closed, readBack]), [[true, true], [false, false]]);
  assert.equal((await gateway.lease(2, 3)).why, 'interlocked');
  await board.machine.run({ ms: 4000 });
  assertOpenedAt(end);
  assert.ok(!board.contactors.isClosed(1));
  assert.equal(board.contactors.driven.filter(({ contact }) => contact === 2).length, 0);
});

test('a renewal makes a lease longer, and closes nothing that is open', async () => {
  await ready();
  assert.equal((await gateway.renew(1, 5)).why, 'not closed');
  await close(2);
  const renewed = await gateway.renew(1, 4);
  const end = board.machine.ms + renewed.leftMs;
  await board.machine.run({ ms: 5000 });
  assertOpenedAt(end);
  const moves = board.contactors.driven.length;
  assert.equal((await gateway.renew(1, 5)).why, 'not closed');
  await board.machine.run({ ms: 100 });
  assert.equal(board.contactors.driven.length, moves);
});

test('a lease of 0 opens at once, and none is longer than a minute', async () => {
  await ready();
  await close(30);
  const asked = board.machine.ms;
  assert.equal((await gateway.lease(1, 0)).kind, 'leased');
  await board.machine.run({ ms: 100 });
  assertOpenedAt(asked, 100);
  assert.ok((await gateway.lease(1, 65_535)).leftMs <= 60_000);
  await gateway.lease(1, 0);
});

test('a lease ends in time while the radio is dead and nobody notices', async () => {
  await ready();
  const end = await close(6);
  board.accessPoint.down({ silent: true });
  await board.machine.run({ ms: 7000 });
  assertOpenedAt(end);
});

test('a lease ends in time while the relay joins and calculates the next handshake', async (t) => {
  await ready();
  const lines = board.console.lines.length;
  // Lost at once; joined again after a second and a bit; the handshake takes two more.
  const end = await close(4);
  board.accessPoint.deauthenticate();
  await board.machine.runUntil(() => board.contactors.openedAtMs(1) > end - 100, { ms: 6000 });
  assertOpenedAt(end);
  await board.expectLine(/^broker: connected/, { ms: START_MS, from: lines });
  t.diagnostic(board.console.lines.slice(lines).map(({ at, text }) => `${(at / 1e6 - end).toFixed(0)} ms after: ${text}`).join(' | '));
});

test('the processor hangs in mid-charge: the watchdog opens the contact and the relay says so', async () => {
  await ready();
  await close(50);
  const [resets, lines, hung] = [board.machine.resets.length, board.console.lines.length, board.machine.ms];
  board.machine.freeze();
  await board.machine.run({ ms: WATCHDOG_MS + 200 });
  assert.equal(board.machine.resets.length, resets + 1);
  assert.equal(board.machine.resets.at(-1).cause, 'watchdog');
  assertOpenedAt(hung, WATCHDOG_MS + TOLERANCE_MS);
  await board.expectLine(/^reset: watchdog/, { ms: 1000, from: lines });
  await board.expectLine(/^broker: connected/, { ms: START_MS, from: lines });
  // The gateway's old session is none any more, so what it still has on its mind does nothing.
  assert.equal((await gateway.lease(1, 10)).why, 'unknown session');
  await gateway.hello();
  assert.equal((await gateway.status()).reset, 'watchdog');
  assert.ok(!board.contactors.isDriven(1), 'and nothing closes by itself');
});

test('a loop without end at thread level: leases still end in time, and the watchdog comes', async () => {
  await ready();
  const end = await close(3);
  const [resets, hung] = [board.machine.resets.length, board.machine.ms];
  await board.machine.divert(LOOP_FOREVER);
  await board.machine.run({ ms: 3500 });
  assertOpenedAt(end);
  assert.equal(board.machine.resets.length, resets);
  assert.ok(await board.machine.runUntil(() => board.machine.resets.length > resets, { ms: STUCK_MS + WATCHDOG_MS }), 'the watchdog comes');
  assert.equal(board.machine.resets.at(-1).cause, 'watchdog');
  assert.ok(board.machine.ms - hung < STUCK_MS + WATCHDOG_MS + 500);
});

test('a fault of the processor opens the contact at once and is told after the restart', async () => {
  await ready();
  await close(50);
  const lines = board.console.lines.length;
  const asked = board.machine.ms;
  await board.machine.divert(UNDEFINED_INSTRUCTION);
  await board.expectLine(/^reset: panic/, { ms: 2000, from: lines });
  assertOpenedAt(asked, 30);
  await board.expectLine(/^last panic: .*fault/, { ms: 1000, from: lines });
});

test('a panic in the driver opens the contact at once and is told after the restart', async () => {
  await ready();
  await close(50);
  const lines = board.console.lines.length;
  board.wifi.wlan.failNext = true; // the next look at the signal's strength, within ten seconds
  await board.expectLine(/^reset: panic/, { ms: 12_000, from: lines });
  assert.ok(!board.contactors.isDriven(1));
  await board.expectLine(/^last panic: .*unner\.rs:\d+/, { ms: 1000, from: lines });
});

test('restarted from the console in mid-charge', async () => {
  await ready();
  await close(50);
  const lines = board.console.lines.length;
  const asked = board.machine.ms;
  board.console.type('reset');
  await board.expectLine(/^reset: console/, { ms: 2000, from: lines });
  assertOpenedAt(asked, 50);
});

test('power off and on again: nothing is closed, and the session is another', async () => {
  await ready();
  const old = gateway.session;
  await close(50);
  const lines = board.console.lines.length;
  board.machine.powerCycle();
  assert.ok(!board.contactors.isDriven(1));
  await board.expectLine(/^reset: power on/, { ms: 1000, from: lines });
  await board.expectLine(/^broker: connected/, { ms: START_MS, from: lines });
  await gateway.hello();
  assert.notEqual(gateway.session, old);
});

test('a welded contactor is seen, and everything stays open until the power is taken away', async () => {
  await ready();
  await close(5);
  board.contactors.weld(1);
  await gateway.lease(1, 0);
  await board.expectLine(/^contact welded/, { ms: 1000, from: 0 });
  assert.equal((await gateway.status()).contacts[0].welded, true);
  for (const contact of [1, 2]) assert.equal((await gateway.lease(contact, 5)).why, 'welded');
  assert.ok(!board.contactors.isDriven(1) && !board.contactors.isDriven(2));
});
