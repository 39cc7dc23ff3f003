// The gateway's side of the wire protocol: frames with CRC-32, sessions and sequences, over MQTT. Written from the protocol's description, not from
// the crate that speaks it in the firmware.

import { crc32 } from './crc32.mjs';

export const KIND = { hello: 1, exchange: 2, lease: 3, status: 4, identify: 5, renew: 6, reply: 0x80, refused: 0xff };
export const REFUSAL = { 1: 'unknown session', 2: 'unknown kind', 3: 'malformed' };
const EXCHANGE_FAILURE = { 1: 'timeout', 2: 'garbage', 3: 'overrun', 4: 'no bus' };
const LEASE_REFUSAL = { 1: 'no such contact', 2: 'interlocked', 3: 'welded', 4: 'not closed' };
const RESET = ['unknown', 'power on', 'watchdog', 'panic', 'console'];
const HEADER = 14;

export function encodeFrame({ version = 1, kind, session, sequence, body = Buffer.alloc(0) }) {
  const header = Buffer.alloc(HEADER);
  header.write('SR');
  header[2] = version;
  header[3] = kind;
  header.writeUInt32LE(session, 4);
  header.writeUInt32LE(sequence, 8);
  header.writeUInt16LE(body.length, 12);
  const content = Buffer.concat([header, body]);
  const check = Buffer.alloc(4);
  check.writeUInt32LE(crc32(content));
  return Buffer.concat([content, check]);
}

/** A frame taken apart; throws for what is none. */
export function decodeFrame(bytes) {
  const content = bytes.subarray(0, -4);
  if (bytes.length < HEADER + 4 || content.toString('latin1', 0, 2) !== 'SR') throw new Error('no frame');
  if (content.readUInt16LE(12) !== content.length - HEADER) throw new Error('wrong length');
  if (crc32(content) !== bytes.readUInt32LE(bytes.length - 4)) throw new Error('wrong checksum');
  return { version: content[2], kind: content[3], session: content.readUInt32LE(4), sequence: content.readUInt32LE(8), body: content.subarray(HEADER) };
}

const contact = (bytes) => ({
  closed: Boolean(bytes[0] & 1), readBack: Boolean(bytes[0] & 2), welded: Boolean(bytes[0] & 4), leftMs: bytes.readUInt32LE(1),
});

/** What a reply means. */
export function decodeReply({ kind, body }) {
  switch (kind) {
    case KIND.reply | KIND.hello: return { kind: 'welcome', versions: [body[0], body[1]], firmware: [...body.subarray(2, 5)] };
    case KIND.reply | KIND.exchange: return body[0] === 0 ? { kind: 'exchanged', bytes: body.subarray(1) } : { kind: 'failed', why: EXCHANGE_FAILURE[body[0]] };
    case KIND.reply | KIND.lease: return body[0] === 0 ? { kind: 'leased', ...contact(body.subarray(1)) } : { kind: 'not leased', why: LEASE_REFUSAL[body[0]] };
    case KIND.reply | KIND.status: return {
      kind: 'status', uptimeS: body.readUInt32LE(0), rssiDbm: body.readInt8(4), temperatureCentiC: body.readInt16LE(5), reset: RESET[body[7]],
      contacts: [contact(body.subarray(8, 13)), contact(body.subarray(13, 18))],
      exchanges: body.readUInt32LE(18), timeouts: body.readUInt32LE(22), garbage: body.readUInt32LE(26), version: [...body.subarray(30, 33)],
    };
    case KIND.reply | KIND.identify: return { kind: 'identifying' };
    case KIND.refused: return { kind: 'refused', why: REFUSAL[body[0]] ?? body[0] };
    default: throw new Error(`unknown kind ${kind}`);
  }
}

/** A relay as the gateway sees it. Waiting is in simulated time. */
export class Relay {
  /** All replies that came, decoded, oldest first. */
  replies = [];
  /** What the retained topic says: `online`, `offline`, or `null`. */
  presence = null;
  session = 0;
  sequence = 0;
  #client;
  #machine;
  #id;

  static async open({ client, machine, id }) {
    const relay = new Relay();
    Object.assign(relay, { machine });
    relay.#client = client;
    relay.#machine = machine;
    relay.#id = id;
    client.onMessage = (topic, payload) => relay.#take(topic, payload);
    await client.subscribe(`surplusd-relay/${id}/from`);
    await client.subscribe(`surplusd-relay/${id}/online`);
    return relay;
  }

  /** Sends bytes as they are. */
  async sendRaw(bytes) {
    this.#machine.pacer.hold(HOST_DELIVERS_MS);
    await this.#client.publish(`surplusd-relay/${this.#id}/to`, bytes);
  }

  /** Sends a request and runs the machine until it is answered; throws if it is not within `ms` of simulated time. */
  async request(kind, body = Buffer.alloc(0), { ms = 8000, session = this.session, sequence = ++this.sequence } = {}) {
    const from = this.replies.length;
    await this.sendRaw(encodeFrame({ kind, session, sequence, body }));
    const answered = () => this.replies.slice(from).find((reply) => reply.sequence === sequence);
    if (!(await this.#machine.runUntil(answered, { ms }))) throw new Error(`request ${kind} was not answered within ${ms} ms`);
    return answered();
  }

  async hello(options) {
    const reply = await this.request(KIND.hello, undefined, { ...options, session: 0 });
    this.session = reply.session;
    this.sequence = 0;
    return reply;
  }

  status(options) {
    return this.request(KIND.status, undefined, options);
  }

  lease(number, seconds, options) {
    return this.#contact(KIND.lease, number, seconds, options);
  }

  renew(number, seconds, options) {
    return this.#contact(KIND.renew, number, seconds, options);
  }

  #contact(kind, number, seconds, options) {
    const body = Buffer.alloc(3);
    body[0] = number;
    body.writeUInt16LE(seconds, 1);
    return this.request(kind, body, options);
  }

  exchange(bytes, { replyTimeoutMs = 500, expected = 0, ...options } = {}) {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(replyTimeoutMs, 0);
    head.writeUInt16LE(expected, 2);
    return this.request(KIND.exchange, Buffer.concat([head, bytes]), options);
  }

  #take(topic, payload) {
    if (topic.endsWith('/online')) {
      this.presence = payload.toString();
      return;
    }
    const frame = decodeFrame(payload);
    this.replies.push({ ...decodeReply(frame), session: frame.session, sequence: frame.sequence });
  }
}

const HOST_DELIVERS_MS = 400;
