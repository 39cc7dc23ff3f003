// A real Mosquitto on the loopback: TLS 1.2 and 1.3, client certificates required, the name in the certificate is the user's.

import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

// Debian installs it where an ordinary user's PATH does not look.
const MOSQUITTO = existsSync('/usr/sbin/mosquitto') ? '/usr/sbin/mosquitto' : 'mosquitto';

/** A port that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export class Broker {
  #process = null;
  #log = '';

  /** `certificate` and `authority` are names in `pki`, `acl` is a file of who may do what. */
  constructor({ pki, port, certificate = 'broker', authority = 'authority', acl = null }) {
    this.port = port;
    this.configuration = pki.path(`mosquitto-${port}.conf`);
    writeFileSync(this.configuration, [
      'per_listener_settings false', 'persistence false', 'log_type all', 'allow_anonymous false',
      `listener ${port} 127.0.0.1`, `cafile ${pki.path(`${authority}.crt`)}`, `certfile ${pki.path(`${certificate}.crt`)}`,
      `keyfile ${pki.path(`${certificate}.key`)}`, 'require_certificate true', 'use_identity_as_username true', ...(acl ? [`acl_file ${acl}`] : []),
      // Started as root it would otherwise become a user who may not read the keys.
      ...(process.getuid() === 0 ? ['user root'] : []), '',
    ].join('\n'));
  }

  get log() {
    return this.#log;
  }

  async start() {
    this.#process = spawn(MOSQUITTO, ['-c', this.configuration], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream.on('data', (bytes) => (this.#log += bytes));
    for (let tries = 0; tries < 100; tries++) {
      if (this.#process.exitCode !== null) throw new Error(`mosquitto ended: ${this.#log}`);
      if (await this.#listens()) return;
      await sleep(50);
    }
    throw new Error(`mosquitto does not listen: ${this.#log}`);
  }

  /** Ends it; connections are reset, as in a power cut of its host. */
  async stop() {
    const ended = this.#process;
    this.#process = null;
    if (!ended || ended.exitCode !== null) return;
    const gone = new Promise((resolve) => ended.once('exit', resolve));
    ended.kill('SIGKILL');
    await gone;
  }

  #listens() {
    return new Promise((resolve) => {
      const socket = net.connect({ host: '127.0.0.1', port: this.port });
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  }
}
