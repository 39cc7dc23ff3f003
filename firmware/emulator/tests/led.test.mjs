// What somebody sees who stands before the relay without a computer.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Household, START_MS } from './household.mjs';

const READ_LAYOUT = Buffer.from('010400040001700b', 'hex');
const TICK_MS = 100;

let household;
before(async () => (household = await Household.make()));
after(() => household.end());

/** The LED over so much time, a character for each tenth of a second. */
async function seen(board, ms) {
  let text = '';
  for (let at = 0; at < ms; at += TICK_MS) {
    await board.machine.run({ ms: TICK_MS });
    text += board.led ? '#' : '.';
  }
  return text;
}

const count = (text, part) => text.split(part).length - 1;

test('no Wi-Fi: a flash a second between two attempts', async () => {
  const board = household.board();
  board.accessPoint.down();
  board.powerOn();
  await board.expectLine(/^wifi: /, { ms: START_MS });
  await board.machine.run({ ms: 15_000 });
  const text = await seen(board, 20_000);
  assert.ok(count(text, '#') >= 5 && count(text, '##') === 0, text);
});

test('no broker: half a second on, half off', async () => {
  const board = household.board({ hostPort: 1 });
  board.powerOn();
  await board.expectLine(/^broker: /, { ms: START_MS });
  const text = await seen(board, 5_000);
  assert.ok(/\.{4,6}#{4,6}\.{4,6}#{4,6}/.test(text), text);
});

test('at the broker: steady, a blink with each exchange, flickering to be found, three flashes when a contact is welded', async () => {
  const { board, gateway } = await household.connected();
  await board.machine.run({ ms: 500 });
  assert.equal(await seen(board, 2_000), '#'.repeat(20));
  await gateway.exchange(READ_LAYOUT, { expected: 7 });
  const blinks = board.machine.runUntil(() => !board.led, { ms: 200 });
  assert.ok(await blinks, 'a blink');
  await board.machine.run({ ms: 300 });
  assert.equal(await seen(board, 500), '#'.repeat(5));
  await gateway.request(5, Buffer.from([3]));
  assert.ok(count(await seen(board, 2_000), '#.') >= 8, 'flickers');
  await board.machine.run({ ms: 3_000 });
  board.contactors.breakWire(1);
  await board.machine.run({ ms: 1_000 });
  const text = await seen(board, 3_000);
  assert.ok(/#\.#\.#\.{4,6}#\.#\.#/.test(text), text);
});
