// Servers that must not get a word out of the relay. One speaks TLS 1.3 with keys of its own making and never sends Certificate and
// CertificateVerify, which is how a client that does not insist on them is robbed. The other is any TLS server with the wrong certificate.
// Key schedule and record format: RFC 8446, sections 5.2 and 7.1.

import { createCipheriv, createDecipheriv, createECDH, createHash, createHmac, diffieHellman, generateKeyPairSync, createPublicKey, randomBytes } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';

const HANDSHAKE = 22, APPLICATION = 23, CHANGE_CIPHER_SPEC = 20;
const SUITES = { 0x1301: { hash: 'sha256', cipher: 'aes-128-gcm', keyBytes: 16 }, 0x1302: { hash: 'sha384', cipher: 'aes-256-gcm', keyBytes: 32 },
  0x1303: { hash: 'sha256', cipher: 'chacha20-poly1305', keyBytes: 32 } };
const GROUPS = { 0x17: 'prime256v1', 0x18: 'secp384r1', 0x1d: 'x25519' };

const u16 = (value) => Buffer.from([value >> 8, value & 0xff]);
const message = (kind, body) => Buffer.concat([Buffer.from([kind, 0]), u16(body.length), body]);
const record = (kind, body) => Buffer.concat([Buffer.from([kind, 3, 3]), u16(body.length), body]);
const extension = (kind, body) => Buffer.concat([u16(kind), u16(body.length), body]);

/** Listens and notes what clients say. `stolen` are the application data it could read. */
export class Rogue {
  stolen = [];
  connections = 0;
  /** How handshakes ended. */
  endings = [];
  #server;

  get port() {
    return this.#server.address().port;
  }

  /** A server that never proves who it is. */
  static async withoutProof() {
    const rogue = new Rogue();
    return rogue.#listen(net.createServer((socket) => new UnprovenSession(socket, rogue)));
  }

  /** A server with a certificate (and chain) that is not the broker's. */
  static async withCertificate({ cert, key, versions = {} }) {
    const rogue = new Rogue();
    const server = tls.createServer({ cert, key, ...versions }, (socket) => socket.on('data', (bytes) => rogue.stolen.push(bytes)));
    server.on('tlsClientError', (error) => rogue.endings.push(error.code ?? error.message));
    server.on('connection', () => rogue.connections++);
    return rogue.#listen(server);
  }

  close() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #sockets = new Set();

  async #listen(server) {
    this.#server = server;
    server.on('connection', (socket) => this.#sockets.add(socket));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return this;
  }
}

class UnprovenSession {
  #socket;
  #rogue;
  #buffer = Buffer.alloc(0);
  #suite;
  #transcript = [];
  #reader = null;

  constructor(socket, rogue) {
    this.#socket = socket;
    this.#rogue = rogue;
    rogue.connections++;
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      this.#buffer = Buffer.concat([this.#buffer, bytes]);
      try {
        this.#drain();
      } catch (error) {
        rogue.endings.push(error.message);
        socket.destroy();
      }
    });
  }

  #drain() {
    for (;;) {
      if (this.#buffer.length < 5) return;
      const length = this.#buffer.readUInt16BE(3);
      if (this.#buffer.length < 5 + length) return;
      const header = this.#buffer.subarray(0, 5);
      const body = this.#buffer.subarray(5, 5 + length);
      this.#buffer = this.#buffer.subarray(5 + length);
      if (header[0] === HANDSHAKE && this.#transcript.length === 0) this.#greet(body);
      else if (header[0] === APPLICATION) this.#readEncrypted(header, body);
      else if (header[0] !== CHANGE_CIPHER_SPEC) this.#rogue.endings.push(`alert ${body.toString('hex')}`);
    }
  }

  #greet(clientHello) {
    const { suite, group, share, session } = parseClientHello(clientHello);
    this.#suite = SUITES[suite];
    const exchanged = exchange(group, share);
    const keyShare = Buffer.concat([u16(group), u16(exchanged.share.length), exchanged.share]);
    const extensions = Buffer.concat([extension(0x2b, Buffer.from([3, 4])), extension(0x33, keyShare)]);
    const serverHello = message(2, Buffer.concat([
      Buffer.from([3, 3]), randomBytes(32), Buffer.from([session.length]), session, u16(suite), Buffer.from([0]), u16(extensions.length), extensions,
    ]));
    this.#transcript = [clientHello, serverHello];
    this.#socket.write(record(HANDSHAKE, serverHello));
    this.#finishWithoutProof(exchanged.secret);
  }

  #finishWithoutProof(shared) {
    const { hash } = this.#suite;
    const zero = Buffer.alloc(createHash(hash).digest().length);
    const empty = createHash(hash).digest();
    const early = this.#extract(zero, zero);
    const handshake = this.#extract(this.#expand(early, 'derived', empty), shared);
    const client = this.#expand(handshake, 'c hs traffic', this.#transcriptHash);
    const server = this.#expand(handshake, 's hs traffic', this.#transcriptHash);
    const writer = this.#keys(server);
    this.#reader = this.#keys(client);
    const encrypted = message(8, Buffer.from([0, 0]));
    this.#transcript.push(encrypted);
    const verify = createHmac(hash, this.#expand(server, 'finished', Buffer.alloc(0))).update(this.#transcriptHash).digest();
    const finished = message(20, verify);
    this.#transcript.push(finished);
    for (const each of [encrypted, finished]) this.#socket.write(this.#seal(writer, each, HANDSHAKE));
    const master = this.#extract(this.#expand(handshake, 'derived', empty), zero);
    this.applicationKeys = this.#keys(this.#expand(master, 'c ap traffic', this.#transcriptHash));
  }

  #readEncrypted(header, body) {
    const plain = this.#open(this.#reader, header, body);
    const kind = plain.at(-1);
    if (kind === HANDSHAKE) {
      this.#rogue.endings.push('client finished');
      this.#reader = this.applicationKeys;
    } else if (kind === APPLICATION) {
      this.#rogue.stolen.push(plain.subarray(0, -1));
    } else {
      this.#rogue.endings.push(`alert ${plain.subarray(0, -1).toString('hex')}`);
    }
  }

  get #transcriptHash() {
    return createHash(this.#suite.hash).update(Buffer.concat(this.#transcript)).digest();
  }

  #extract(salt, secret) {
    return createHmac(this.#suite.hash, salt).update(secret).digest();
  }

  #expand(secret, label, context, bytes = createHash(this.#suite.hash).digest().length) {
    const name = Buffer.from(`tls13 ${label}`);
    const info = Buffer.concat([u16(bytes), Buffer.from([name.length]), name, Buffer.from([context.length]), context, Buffer.from([1])]);
    return createHmac(this.#suite.hash, secret).update(info).digest().subarray(0, bytes); // no label here needs a second round
  }

  #keys(secret) {
    return { key: this.#expand(secret, 'key', Buffer.alloc(0), this.#suite.keyBytes), iv: this.#expand(secret, 'iv', Buffer.alloc(0), 12), count: 0 };
  }

  #nonce(keys) {
    const nonce = Buffer.from(keys.iv);
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ keys.count++) >>> 0, 8);
    return nonce;
  }

  #seal(keys, content, kind) {
    const plain = Buffer.concat([content, Buffer.from([kind])]);
    const header = Buffer.concat([Buffer.from([APPLICATION, 3, 3]), u16(plain.length + 16)]);
    const cipher = createCipheriv(this.#suite.cipher, keys.key, this.#nonce(keys), { authTagLength: 16 }).setAAD(header);
    return Buffer.concat([header, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  #open(keys, header, body) {
    const cipher = createDecipheriv(this.#suite.cipher, keys.key, this.#nonce(keys), { authTagLength: 16 }).setAAD(header);
    cipher.setAuthTag(body.subarray(-16));
    return Buffer.concat([cipher.update(body.subarray(0, -16)), cipher.final()]);
  }
}

function parseClientHello(hello) {
  let at = 4 + 2 + 32;
  const session = hello.subarray(at + 1, at + 1 + hello[at]);
  at += 1 + hello[at];
  const suites = hello.subarray(at + 2, at + 2 + hello.readUInt16BE(at));
  at += 2 + suites.length;
  at += 1 + hello[at];
  const end = at + 2 + hello.readUInt16BE(at);
  let shares = null;
  for (at += 2; at < end; at += 4 + hello.readUInt16BE(at + 2)) {
    if (hello.readUInt16BE(at) === 0x33) shares = hello.subarray(at + 6, at + 4 + hello.readUInt16BE(at + 2));
  }
  const suite = Array.from({ length: suites.length / 2 }, (_, i) => suites.readUInt16BE(i * 2)).find((each) => SUITES[each]);
  for (let i = 0; shares && i < shares.length; i += 4 + shares.readUInt16BE(i + 2)) {
    const group = shares.readUInt16BE(i);
    if (GROUPS[group] && suite) return { suite, group, session, share: shares.subarray(i + 4, i + 4 + shares.readUInt16BE(i + 2)) };
  }
  throw new Error('nothing in common with the client');
}

function exchange(group, share) {
  if (GROUPS[group] !== 'x25519') {
    const ecdh = createECDH(GROUPS[group]);
    ecdh.generateKeys();
    return { share: ecdh.getPublicKey(), secret: ecdh.computeSecret(share) };
  }
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  const prefix = Buffer.from('302a300506032b656e032100', 'hex'); // SubjectPublicKeyInfo of X25519
  const theirs = createPublicKey({ key: Buffer.concat([prefix, share]), format: 'der', type: 'spki' });
  return { share: publicKey.export({ format: 'der', type: 'spki' }).subarray(-32), secret: diffieHellman({ privateKey, publicKey: theirs }) };
}
