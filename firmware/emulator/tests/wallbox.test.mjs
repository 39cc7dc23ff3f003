// Exchanges with a wallbox at the far end: what comes back, what does not, and in which time.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { withCrc } from '../wallbox.mjs';
import { Household } from './household.mjs';

// Captured from real boxes and computed for unit 1.
const READ_LAYOUT = Buffer.from('010400040001700b', 'hex');
const READ_5_TO_18 = Buffer.from('01040005000e61cf', 'hex');
const READ_258 = Buffer.from('0103010200012436', 'hex');
const CURRENT_60 = Buffer.from('01060105003c9826', 'hex');
const CURRENT_160_BY_16 = Buffer.from('0110010500010200a0b6bd', 'hex');

let household, board, gateway;
before(async () => {
  household = await Household.make();
  ({ board, gateway } = await household.connected());
});
after(() => household.end());

test('reads the layout, the state and the currents', async () => {
  const layout = await gateway.exchange(READ_LAYOUT, { expected: 7 });
  assert.deepEqual([...layout.bytes], [...withCrc([1, 4, 2, 0x01, 0x08])]);
  board.wallbox.car = { plugged: true, asks: true };
  const block = await gateway.exchange(READ_5_TO_18, { expected: 33 });
  assert.equal(block.bytes.length, 33);
  assert.equal(block.bytes.readUInt16BE(3), 6, 'state C1: the car asks, nothing is allowed');
  assert.deepEqual(board.rs485.format, { baud: board.rs485.format.baud, parity: 'even', dataBits: 8, stopBits: 1 });
  assert.equal(board.rs485.unsent + board.rs485.unheard, 0, 'the transceiver always looked the right way');
});

test('writes a current with function 6 and with function 16, and the box charges', async () => {
  assert.deepEqual([...(await gateway.exchange(CURRENT_60, { expected: 8 })).bytes], [...CURRENT_60]);
  assert.equal(board.wallbox.register(261), 60);
  assert.equal((await gateway.exchange(CURRENT_160_BY_16, { expected: 8 })).bytes.length, 8);
  assert.equal(board.wallbox.register(261), 160);
  assert.equal((await gateway.exchange(READ_5_TO_18, { expected: 33 })).bytes.readUInt16BE(3), 7);
});

test('an answer of unknown length ends with silence, an exception is shorter than expected', async () => {
  assert.equal((await gateway.exchange(READ_258)).bytes.length, 7);
  const exception = await gateway.exchange(withCrc([1, 3, 0, 99, 0, 1]), { expected: 7 });
  assert.deepEqual([...exception.bytes], [0x01, 0x83, 0x02, 0xc0, 0xf1]);
});

test('a box that is silent, answers noise, a wrong check or half an answer', async () => {
  const before = await gateway.status();
  board.wallbox.fault('silence');
  const asked = board.machine.ms;
  assert.equal((await gateway.exchange(READ_LAYOUT, { replyTimeoutMs: 300 })).why, 'timeout');
  assert.ok(board.machine.ms - asked < 600, `${board.machine.ms - asked} ms`);
  // What came is brought back as it came: judging it is the gateway's business.
  for (const [fault, length] of [['garbage', 7], ['crc', 7], ['short', 4]]) {
    board.wallbox.fault(fault);
    const reply = await gateway.exchange(READ_LAYOUT, { expected: 7 });
    assert.equal(reply.kind, 'exchanged', fault);
    assert.equal(reply.bytes.length, length, fault);
  }
  board.wallbox.fault(null);
  assert.equal((await gateway.exchange(READ_LAYOUT, { expected: 7 })).bytes.length, 7);
  const after = await gateway.status();
  assert.equal(after.exchanges - before.exchanges, 5);
  assert.equal(after.timeouts - before.timeouts, 1);
});

test('bytes with framing errors are reported as garbage', async () => {
  board.wallbox.fault('silence');
  board.rs485.send(Buffer.from([1, 4, 2]), { afterNanos: 40e6, options: { framing: true } });
  const reply = await gateway.exchange(READ_LAYOUT, { replyTimeoutMs: 300 });
  board.wallbox.fault(null);
  assert.equal(reply.why, 'garbage');
});

test('the relay restarts in mid-charge: the box falls back by its own watchdog and is found again', async () => {
  const lines = board.console.lines.length;
  assert.equal(board.wallbox.state, 7);
  board.console.type('reset');
  await board.expectLine(/^reset: console/, { ms: 2000, from: lines });
  await board.machine.run({ ms: 16_000 });
  assert.equal(board.wallbox.state, 10, 'no current without a gateway: fail-safe 0');
  await board.atBroker({ ms: 60_000 });
  await gateway.hello();
  assert.equal((await gateway.exchange(READ_LAYOUT, { expected: 7 })).bytes.length, 7);
  await board.machine.run({ ms: 10_000 });
  assert.equal(board.wallbox.state, 7, 'and it charges again, 9.5 s after traffic resumed');
});
