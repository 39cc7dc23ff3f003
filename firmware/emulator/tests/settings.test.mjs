// Settings by the serial console: typed in on a fresh Pico, changed on one at work; secrets are taken and never shown.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Board } from '../board.mjs';
import { BROKER, BROKER_IP, Household, PASSPHRASE, PORT, RELAY, SSID, START_MS, elf } from './household.mjs';

let household;
before(async () => (household = await Household.make()));
after(() => household.end());

/** Types lines one after the other, each answered with a line that matches. */
async function dialogue(board, lines) {
  for (const [typed, answer] of lines) {
    const from = board.console.lines.length;
    board.console.type(typed);
    await board.expectLine(answer, { ms: 2000, from });
  }
}

function secretsOf({ pki }) {
  const lines = pki.pem('relay.key').toString().split('\n').filter((line) => line && !line.startsWith('-'));
  return [PASSPHRASE, ...lines];
}

test('a fresh Pico becomes a relay by what is typed', async (t) => {
  const { pki } = household;
  const board = household.board({ settings: null });
  board.powerOn();
  await board.expectLine(/^settings: none/, { ms: 2000 });
  await dialogue(board, [
    ['save', /^not saved; missing or wrong: id/],
    [`set id ${RELAY}`, /^id: taken/], [`set ssid ${SSID}`, /^ssid: taken/], [`set passphrase ${PASSPHRASE}`, /^passphrase: taken/],
    [`set broker ${BROKER}`, /^broker: taken/], [`set port ${PORT}`, /^port: taken/],
    ['save', /^not saved; missing or wrong: ca/],
  ]);
  for (const [name, file] of [['ca', 'authority.crt'], ['certificate', 'relay.crt'], ['key', 'relay.key']]) {
    await dialogue(board, [[`set ${name}`, /^paste the PEM/], [pki.pem(file).toString().trim().replaceAll('\n', '\r'), new RegExp(`^${name}: \\d+ bytes taken`)]]);
  }
  await dialogue(board, [['show', /^ssid carport, passphrase \*{8}/]]);
  const from = board.console.lines.length;
  board.console.type('save');
  await board.expectLine(/^reset: console/, { ms: 2000, from });
  await board.expectLine(new RegExp(`^settings: ${RELAY}`), { ms: 100, from });
  await board.expectLine(/^broker: connected/, { ms: START_MS, from });
  for (const secret of secretsOf(household)) {
    assert.ok(!board.console.lines.some(({ text }) => text.includes(secret)), 'no secret on the console');
  }
  assert.deepEqual(board.machine.faults, []);
  t.diagnostic(board.console.find(/^peaks:/).text);
});

test('one setting is changed and the others stay, but not while a contact is closed', async () => {
  const { board, gateway } = await household.connected();
  await gateway.lease(1, 5);
  await board.machine.run({ ms: 100 });
  await dialogue(board, [['set passphrase something else', /^passphrase: taken/], ['save', /^not saved: a contact is closed/]]);
  assert.ok(board.contactors.isDriven(1));
  await gateway.lease(1, 0);
  await board.machine.run({ ms: 100 });
  const from = board.console.lines.length;
  board.console.type('save');
  await board.expectLine(/^reset: console/, { ms: 2000, from });
  await board.expectLine(/^wifi: .*(passphrase|authentication|refused)/i, { ms: 30_000, from });
  await dialogue(board, [[`set passphrase ${PASSPHRASE}`, /^passphrase: taken/]]);
  const back = board.console.lines.length;
  board.console.type('save');
  await board.expectLine(/^broker: connected/, { ms: START_MS, from: back });
});

test('a paste that loses a line on its way changes nothing', async () => {
  const board = new Board({ elf: elf(), settings: household.settings() });
  board.network.host(BROKER, BROKER_IP, { [PORT]: household.broker.port });
  board.powerOn();
  await board.expectLine(/^settings: pico/, { ms: 2000 });
  const lines = household.pki.pem('relay.crt').toString().trim().split('\n');
  lines.splice(2, 1);
  await dialogue(board, [['set certificate', /^paste/], [lines.join('\r'), /^certificate: that was not PEM.*left unchanged/]]);
  board.dispose();
});
