// What lies on a real RS-485 line besides frames: noise while nobody speaks, an answer that is too late, speeds at which long answers come in pieces.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { withCrc } from '../wallbox.mjs';
import { Household } from './household.mjs';

const READ_LAYOUT = Buffer.from('010400040001700b', 'hex');
const NOISE = { options: { framing: true } };

let household;
before(async () => (household = await Household.make()));
after(() => household.end());

/** An answer that begins `afterMs` after the last byte of the request was sent. */
function answers(board, bytes, afterMs) {
  board.wallbox.receive = () => {
    board.machine.cancel(board.pending);
    board.pending = board.machine.later(afterMs * 1e6, () => board.rs485.send(bytes));
  };
}

test('noise between two exchanges costs neither of them', async () => {
  const { board, gateway } = await household.connected();
  for (let i = 0; i < 3; i++) {
    board.rs485.send(Buffer.from([0]), NOISE);
    await board.machine.run({ ms: 50 });
    const reply = await gateway.exchange(READ_LAYOUT, { expected: 7 });
    assert.equal(reply.kind, 'exchanged', reply.why);
    assert.equal(reply.bytes.length, 7);
  }
});

test('an answer that came too late is not taken for the next one', async () => {
  const { board, gateway } = await household.connected();
  answers(board, withCrc([1, 4, 2, 9, 9]), 300);
  assert.equal((await gateway.exchange(READ_LAYOUT, { replyTimeoutMs: 100, expected: 7 })).why, 'timeout');
  await board.machine.run({ ms: 400 });
  answers(board, withCrc([1, 4, 2, 1, 8]), 20);
  const reply = await gateway.exchange(READ_LAYOUT, { expected: 7 });
  assert.deepEqual([...reply.bytes], [...withCrc([1, 4, 2, 1, 8])]);
});

test('an answer to noise at its very beginning is waited for, so that the next request does not run into it', async () => {
  const { board, gateway } = await household.connected();
  answers(board, withCrc([1, 4, 2, 1, 8]), 100);
  const asked = board.machine.later(15e6, () => board.rs485.send(Buffer.from([0]), NOISE));
  const before = board.rs485.unheard;
  const reply = await gateway.exchange(READ_LAYOUT, { expected: 7 });
  board.machine.cancel(asked);
  assert.equal(reply.kind === 'exchanged' || reply.why === 'garbage', true);
  assert.equal((await gateway.exchange(READ_LAYOUT, { expected: 7 })).kind, 'exchanged');
  assert.equal(board.rs485.unheard, before);
});

for (const baud of [1_200, 9_600, 115_200]) {
  test(`at ${baud} a long answer comes whole, its length known or not`, async () => {
    const { board, gateway } = await household.connected({ settings: { baud } });
    const long = Buffer.from(Array.from({ length: 250 }, (_, i) => i));
    answers(board, long, 50);
    for (const expected of [250, 0, 251]) {
      const reply = await gateway.exchange(READ_LAYOUT, { expected, replyTimeoutMs: 1_000, ms: 12_000 });
      assert.equal(reply.bytes?.length, 250, `expected ${expected}: ${reply.kind} ${reply.why ?? ''}`);
      assert.deepEqual([...reply.bytes], [...long]);
    }
  });
}
