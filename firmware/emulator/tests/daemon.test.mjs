// The whole way, with the built gateway: certificates and settings by its own commands, a car that charges from the sun through the Pico, phases
// switched by its contact, and the Pico restarted in mid-charge.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AccessPoint } from '../accesspoint.mjs';
import { Board } from '../board.mjs';
import { Broker, freePort } from '../broker.mjs';
import { Daemon } from '../daemon.mjs';
import { MqttClient } from '../mqtt.mjs';
import { KIND, encodeFrame } from '../relay.mjs';
import { writeUf2 } from '../settings.mjs';
import { BROKER, BROKER_IP, PASSPHRASE, PORT, RELAY, SSID, START_MS, elf } from './household.mjs';

// The access list that the documentation recommends.
const ACL = fileURLToPath(new URL('../../../docs/mosquitto/acl', import.meta.url));
const WATCHDOG_S = 8;
// The sun, and what the house takes for itself, in watts.
const SUN_W = 9_400, HOUSE_W = 400;

let daemon, broker, board, homeAssistant, speaking;
/** Every move of the contact, with what the box offered at that moment in tenths of an ampere. */
const moves = [];

before(async () => {
  daemon = new Daemon();
  const dir = ['--dir', daemon.path('certs')];
  daemon.command(['certs', 'init', '--broker', BROKER, '--broker', 'localhost', ...dir]);
  for (const name of ['gateway', 'homeassistant', RELAY]) daemon.command(['certs', 'issue', name, ...dir]);
  daemon.command(
    ['relay', 'provision', RELAY, '--ssid', SSID, '--broker', BROKER, '--out', daemon.path('settings.uf2'), ...dir],
    { input: `${PASSPHRASE}\n` },
  );
  const certificates = { path: (name) => daemon.path(name.includes('.conf') ? name : `certs/${name}`) };
  broker = new Broker({ pki: certificates, port: await freePort(), authority: 'ca', acl: ACL });
  await broker.start();
  board = new Board({ elf: elf(), accessPoint: new AccessPoint({ ssid: SSID, passphrase: PASSPHRASE }) });
  board.network.host(BROKER, BROKER_IP, { [PORT]: broker.port });
  writeUf2(board.machine, readFileSync(daemon.path('settings.uf2')));
  board.machine.pacer.realTime = true;
  board.wallbox.phases = () => (board.contactors.isClosed(1) ? 3 : 1);
  board.contactors.onDriven = (contact, closed) => moves.push({ contact, closed, offered: board.wallbox.offered });
  board.wallbox.car = { plugged: true, asks: true };
  const pem = (name) => readFileSync(daemon.path(`certs/${name}`));
  homeAssistant = await MqttClient.connect({
    port: broker.port, ca: pem('ca.crt'), identity: { cert: pem('homeassistant.crt'), key: pem('homeassistant.key') }, clientId: 'homeassistant',
    servername: 'localhost',
  });
  speaking = setInterval(speak, 1000);
});

after(async () => {
  clearInterval(speaking);
  homeAssistant.close();
  await daemon.dispose();
  board.dispose();
  await broker.stop();
});

/** The house's meters, once a second, as Home Assistant publishes them. */
function speak() {
  const load = HOUSE_W + board.wallbox.watts;
  for (const [name, watts] of [['solar', SUN_W], ['load', load], ['battery', 0], ['site', load - SUN_W]]) {
    homeAssistant.publish(`homeassistant/sensor/powerwall_${name}_now/state`, (watts / 1000).toFixed(3), { qos: 0 });
  }
}

const configuration = () => `
version = 1
state-file = "${daemon.path('state.json')}"
[mqtt]
url = "mqtts://localhost:${broker.port}"
ca-file = "${daemon.path('certs/ca.crt')}"
client-cert-file = "${daemon.path('certs/gateway.crt')}"
client-key-file = "${daemon.path('certs/gateway.key')}"
[solar]
min-on-s = 0
min-off-s = 30
[fail-safe]
stale-after-s = 5
charger-watchdog-s = ${WATCHDOG_S}
[journal]
file = "${daemon.path('journal.sqlite')}"
[[charger]]
name = "carport"
profile = "heidelberg-energy-control"
link = "relay://${RELAY}"
phase-switch = { relay = "${RELAY}", contact = 1 }
phase-switch-pause-s = 10
`;

async function until(what, predicate, ms) {
  if (await board.machine.runUntil(predicate, { ms })) return;
  throw new Error(`${what}: not within ${ms} ms; the console says\n${board.console.tail()}\nthe gateway says\n${daemon.log}`);
}

const drawn = () => board.wallbox.watts;

test('the page that `relay provision` writes makes it a relay', async () => {
  board.powerOn();
  await board.expectLine(new RegExp(`^settings: ${RELAY}`), { ms: 1000 });
  await until('at the broker', () => board.isAtBroker, START_MS);
  assert.match(broker.log, new RegExp(`New client connected from .* as ${RELAY} .*u'${RELAY}'`));
});

test('the gateway charges from the sun through it, on three phases that its contact has connected', async (t) => {
  daemon.start(configuration());
  const begun = board.machine.ms;
  await until('current flows', () => drawn() > 0, 90_000);
  t.diagnostic(`${((board.machine.ms - begun) / 1000).toFixed(1)} s from the gateway's start to the first current`);
  assert.deepEqual(moves, [{ contact: 1, closed: true, offered: 0 }]);
  assert.equal(board.wallbox.offered, 60, 'the lowest current first');
  await until('follows the sun', () => Math.abs(SUN_W - HOUSE_W - drawn()) < 800, 60_000);
  assert.match(daemon.log, /three phases connected after/);
  assert.equal(board.wallbox.register(257), WATCHDOG_S * 1000);
});

test('the Pico restarts in mid-charge: the box is never driven blind, and the charge goes on', async (t) => {
  const [lines, restarted] = [board.console.lines.length, board.machine.ms];
  moves.length = 0;
  board.console.type('reset');
  await board.expectLine(/^reset: console/, { ms: 2000, from: lines });
  assert.equal(moves.length, 1, 'a reset opens the contact, whatever flows');
  await until('no current', () => board.wallbox.offered === 0, (WATCHDOG_S + 2) * 1000);
  await until('current flows again', () => drawn() > 0, 120_000);
  t.diagnostic(`${((board.machine.ms - restarted) / 1000).toFixed(1)} s without the sun`);
  assert.ok(moves.slice(1).every(({ offered }) => offered === 0), JSON.stringify(moves));
  assert.match(daemon.log, /does not answer/);
});

test('who is no gateway cannot order a contact', async () => {
  const begun = moves.length;
  const heard = board.console.lines.length;
  // Not even a greeting gets through, without which nothing else is done.
  await homeAssistant.publish(`surplusd-relay/${RELAY}/to`, encodeFrame({ kind: KIND.hello, session: 0, sequence: 77 }));
  await board.machine.run({ ms: 3000 });
  assert.match(broker.log, new RegExp(`Denied PUBLISH from homeassistant .*surplusd-relay/${RELAY}/to`));
  assert.equal(moves.length, begun);
  assert.ok(!board.console.has(/broker: connection lost/, heard), 'and the gateway goes on');
});

test('the gateway ends in good order through it, and the lease ends after the charge', async () => {
  daemon.terminate();
  await until('ended', () => daemon.exitCode !== null, 5000);
  assert.equal(daemon.exitCode, 0, daemon.log);
  assert.equal(board.wallbox.register(261), 0);
  await until('the contact is open', () => !board.contactors.isClosed(1), 60_000);
  assert.ok(moves.slice(1).every(({ offered }) => offered === 0), JSON.stringify(moves));
  assert.deepEqual(board.machine.faults, []);
});
