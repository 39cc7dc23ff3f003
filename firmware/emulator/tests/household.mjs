// What the tests share: a household with its own authority, a real broker, a gateway that speaks to it, and boards with settings to match.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { AccessPoint } from '../accesspoint.mjs';
import { Board } from '../board.mjs';
import { Broker, freePort } from '../broker.mjs';
import { MqttClient } from '../mqtt.mjs';
import { Pki } from '../pki.mjs';
import { Relay } from '../relay.mjs';

export const RELAY = 'pico-carport', SSID = 'carport', PASSPHRASE = 'a long passphrase', BROKER = 'broker.home', BROKER_IP = '10.0.0.10', PORT = 8883;
/** Simulated time for a start, from power to the broker: radio's firmware, joining, address, handshake. */
export const START_MS = 20_000;

const BUILT = fileURLToPath(new URL('../../pico-relay/target/thumbv6m-none-eabi/release/pico-relay', import.meta.url));

/** The firmware under test. */
export function elf() {
  const path = process.env.PICO_ELF || BUILT;
  if (!existsSync(path)) throw new Error(`no firmware at ${path}; build it, or set PICO_ELF`);
  return path;
}

export class Household {
  pki = new Pki();
  #clients = [];
  #boards = [];

  static async make({ broker = true } = {}) {
    const household = new Household();
    const { pki } = household;
    pki.authority('authority');
    pki.issue('broker', { issuer: 'authority', dns: [BROKER], use: 'serverAuth' });
    pki.issue('gateway', { issuer: 'authority', dns: ['gateway'], use: 'clientAuth' });
    pki.issue('relay', { issuer: 'authority', commonName: RELAY, dns: [RELAY], use: 'clientAuth' });
    household.broker = new Broker({ pki, port: await freePort() });
    if (broker) await household.broker.start();
    return household;
  }

  /** Ends everything; for `after`. */
  async end() {
    for (const client of this.#clients) client.close();
    for (const board of this.#boards) board.dispose();
    await this.broker.stop();
    this.pki.remove();
  }

  /** A board that knows the household; `settings` replace some of its own, `null` is a Pico fresh from the shop. */
  board({ settings = {}, hostPort = this.broker.port, ...options } = {}) {
    const board = new Board({ elf: elf(), settings: settings && { ...this.settings(), ...settings }, accessPoint: new AccessPoint({ ssid: SSID, passphrase: PASSPHRASE }), ...options });
    board.network.host(BROKER, BROKER_IP, { [PORT]: hostPort });
    this.#boards.push(board);
    return board;
  }

  settings() {
    const { pki } = this;
    return {
      id: RELAY, ssid: SSID, passphrase: PASSPHRASE, host: BROKER, port: PORT, ca: pki.der('authority.crt'), certificate: pki.der('relay.crt'),
      key: pki.der('relay.key'), baud: 19_200,
    };
  }

  /** The gateway's side, connected to the broker. */
  async gateway(board) {
    const { pki, broker } = this;
    const client = await MqttClient.connect({
      port: broker.port, ca: pki.pem('authority.crt'), identity: { cert: pki.pem('gateway.crt'), key: pki.pem('gateway.key') },
      clientId: `gateway-${this.#clients.length}`, servername: BROKER,
    });
    this.#clients.push(client);
    return Relay.open({ client, machine: board.machine, id: RELAY });
  }

  /** A board that has started and reached the broker, and a gateway with a session. */
  async connected(options) {
    const board = this.board(options);
    const gateway = await this.gateway(board);
    board.powerOn();
    await board.expectLine(/^broker: connected/, { ms: START_MS });
    await gateway.hello();
    return { board, gateway };
  }
}
