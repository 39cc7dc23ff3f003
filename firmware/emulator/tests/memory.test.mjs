// Memory over many connections: nothing is kept of one that ended, however it ended.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Household } from './household.mjs';

const CONNECTIONS = 8;
const BACK_MS = 120_000;

let household;
before(async () => (household = await Household.make()));
after(() => household.end());

function peaks(board) {
  const line = board.console.lines.findLast(({ text }) => text.startsWith('peaks:'));
  const [, stack, heap] = line.text.match(/stack (\d+) heap (\d+)/).map(Number);
  return { stack, heap };
}

test('the heap needs no more after many connections than after two', async (t) => {
  const { board, gateway } = await household.connected();
  let second;
  for (let connection = 2; connection <= CONNECTIONS; connection++) {
    const lines = board.console.lines.length;
    // In turn: the broker dies, nothing gets through any more, the access point sends it away.
    if (connection % 3 === 0) board.network.cut();
    else if (connection % 3 === 1) board.accessPoint.deauthenticate();
    else await household.broker.stop();
    await board.expectLine(/^(broker: (?!connected)|wifi: lost)/, { ms: 60_000, from: lines });
    if (connection % 3 === 0) board.network.mend();
    if (connection % 3 === 2) await household.broker.start();
    await board.expectLine(/^broker: connected/, { ms: BACK_MS, from: lines });
    await board.expectLine(/^peaks: /, { ms: 1_000, from: lines });
    if (connection === 2) second = peaks(board);
  }
  const last = peaks(board);
  t.diagnostic(`stack ${last.stack}, heap ${last.heap}`);
  assert.ok(last.heap <= second.heap, `${second.heap} then ${last.heap} bytes`);
  assert.deepEqual([board.machine.faults, board.machine.resets], [[], []]);
  assert.ok(gateway);
});
