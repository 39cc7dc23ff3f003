// Certificates for tests, made by the openssl command in a temporary directory: P-256, version 3, with the uses each one needs.
// Keys live as long as the test run.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const DAYS = '2';

/** A directory of authorities and certificates. */
export class Pki {
  directory = mkdtempSync(join(tmpdir(), 'pico-pki-'));

  remove() {
    rmSync(this.directory, { recursive: true, force: true });
  }

  path(name) {
    return join(this.directory, name);
  }

  pem(name) {
    return readFileSync(this.path(name));
  }

  /** DER of a certificate or key: what stands between the lines of its PEM file. */
  der(name) {
    const lines = this.pem(name).toString().split('\n');
    const begin = lines.findIndex((line) => line.startsWith('-----BEGIN'));
    return Buffer.from(lines.slice(begin + 1, lines.indexOf(lines[begin].replace('BEGIN', 'END'))).join(''), 'base64');
  }

  /** An authority: `<name>.crt`, `<name>.key`. */
  authority(name) {
    this.#openssl([
      'req', '-x509', ...this.#newKey(name), '-subj', `/CN=${name}`, '-days', DAYS, '-out', `${name}.crt`,
      '-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0', '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
    ]);
  }

  /** A certificate signed by `issuer`, which need not be an authority: that is one of the attacks. */
  issue(name, { issuer, commonName = name, dns = [], ip = [], use }) {
    this.#openssl(['req', '-new', ...this.#newKey(name), '-subj', `/CN=${commonName}`, '-out', `${name}.csr`]);
    const names = [...dns.map((each) => `DNS:${each}`), ...ip.map((each) => `IP:${each}`)].join(',');
    const extensions = [
      'basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature', `extendedKeyUsage=${use}`, ...(names ? [`subjectAltName=${names}`] : []),
    ];
    writeFileSync(this.path(`${name}.ext`), extensions.join('\n'));
    this.#openssl([
      'x509', '-req', '-in', `${name}.csr`, '-CA', `${issuer}.crt`, '-CAkey', `${issuer}.key`, '-CAcreateserial', '-days', DAYS,
      '-extfile', `${name}.ext`, '-out', `${name}.crt`,
    ]);
  }

  #newKey(name) {
    return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`];
  }

  #openssl(args) {
    execFileSync('openssl', args, { cwd: this.directory, stdio: ['ignore', 'ignore', 'pipe'] });
  }
}
