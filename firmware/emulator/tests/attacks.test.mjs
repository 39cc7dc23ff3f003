// Servers that are not the household's broker. None of them gets a word out of the relay, and afterwards it still finds the right one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BROKER, BROKER_IP, Household, PORT, START_MS } from './household.mjs';
import { Rogue } from '../rogue.mjs';

let household;
const rogues = [];
before(async () => (household = await Household.make()));
after(() => {
  for (const rogue of rogues) rogue.close();
  return household.end();
});

/** Leads a fresh relay to the rogue until its first attempt has ended. */
async function assertRobbedOfNothing(rogue) {
  rogues.push(rogue);
  const board = household.board({ hostPort: rogue.port });
  board.powerOn();
  assert.ok(await board.machine.runUntil(() => board.console.count(/^broker: TLS/) >= 1, { ms: START_MS }), board.console.tail());
  await board.machine.run({ ms: 500 });
  assert.ok(rogue.connections >= 1);
  assert.deepEqual(rogue.stolen, [], 'application data in the wrong hands');
  assert.ok(!board.console.has(/^broker: connected/));
  return board;
}

async function assertStillFindsTheRightOne(board) {
  board.network.redirect(BROKER_IP, PORT, household.broker.port);
  await board.expectLine(/^broker: connected/, { ms: 60_000 });
}

/** A server with a certificate made for the attack. */
function withCertificate(name, options = {}) {
  const { pki } = household;
  const chain = options.chain ? pki.pem(`${options.chain}.crt`) : Buffer.alloc(0);
  return Rogue.withCertificate({ cert: Buffer.concat([pki.pem(`${name}.crt`), chain]), key: pki.pem(`${name}.key`), versions: options.versions });
}

test('a server that never proves who it is', async (t) => {
  const rogue = await Rogue.withoutProof();
  const board = await assertRobbedOfNothing(rogue);
  t.diagnostic(`the server saw: ${rogue.endings.join(', ')}; the relay said: ${board.console.find(/^broker: TLS/).text}`);
  assert.ok(!rogue.endings.includes('client finished'), 'the relay must not finish the handshake');
  await assertStillFindsTheRightOne(board);
});

test('the certificate of a relay of the household used as an authority', async () => {
  household.pki.issue('forged', { issuer: 'relay', dns: [BROKER], use: 'serverAuth' });
  await assertRobbedOfNothing(await withCertificate('forged', { chain: 'relay' }));
});

test('a certificate of another authority', async () => {
  household.pki.authority('foreign');
  household.pki.issue('stranger', { issuer: 'foreign', dns: [BROKER], use: 'serverAuth' });
  await assertRobbedOfNothing(await withCertificate('stranger', { chain: 'foreign' }));
});

test('another authority, with TLS 1.2', async () => {
  household.pki.authority('foreign12');
  household.pki.issue('stranger12', { issuer: 'foreign12', dns: [BROKER], use: 'serverAuth' });
  await assertRobbedOfNothing(await withCertificate('stranger12', { chain: 'foreign12', versions: { maxVersion: 'TLSv1.2' } }));
});

test('a certificate of the household for another name', async () => {
  household.pki.issue('elsewhere', { issuer: 'authority', dns: ['printer.home'], use: 'serverAuth' });
  await assertRobbedOfNothing(await withCertificate('elsewhere'));
});

test('a certificate of the household that is for clients: another relay plays the broker', async () => {
  household.pki.issue('traitor', { issuer: 'authority', dns: [BROKER], use: 'clientAuth' });
  await assertRobbedOfNothing(await withCertificate('traitor'));
});

test('the relay itself is set up for another authority', async () => {
  household.pki.authority('other');
  const board = household.board({ settings: { ca: household.pki.der('other.crt') } });
  board.powerOn();
  await board.expectLine(/^broker: TLS/, { ms: START_MS });
  assert.ok(!board.console.has(/^broker: connected/));
});
