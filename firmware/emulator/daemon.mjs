// The built gateway as its owner uses it: commands, a configuration file, a process with a log.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BUILT = fileURLToPath(new URL('../../target/debug/surplusd', import.meta.url));

function program() {
  const path = process.env.SURPLUSD || BUILT;
  if (!existsSync(path)) throw new Error(`no surplusd at ${path}; build it, or set SURPLUSD`);
  return path;
}

export class Daemon {
  folder = mkdtempSync(join(tmpdir(), 'pico-gateway-'));
  #process = null;
  #log = '';

  path(name) {
    return join(this.folder, name);
  }

  /** Runs a command to its end and gives what it printed; `input` is typed into it. */
  command(args, { input = '' } = {}) {
    return execFileSync(program(), args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
  }

  start(configuration) {
    writeFileSync(this.path('surplusd.toml'), configuration);
    this.#process = spawn(program(), ['run', '--config', this.path('surplusd.toml')], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process.stderr.on('data', (bytes) => (this.#log += bytes));
  }

  get log() {
    return this.#log;
  }

  /** Asks it to end. Its exit code is in `exitCode` then, which is `null` until it has. */
  terminate() {
    this.#process.kill('SIGTERM');
  }

  get exitCode() {
    return this.#process.exitCode;
  }

  /** Ends it in any case, and takes its files away. */
  async dispose() {
    if (this.#process && this.#process.exitCode === null) {
      const gone = new Promise((resolve) => this.#process.once('exit', resolve));
      this.#process.kill('SIGKILL');
      await gone;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
