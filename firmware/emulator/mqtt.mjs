// A client for MQTT 3.1.1 over TLS: connect, subscribe, publish with QoS 0 and 1, and take what comes. Enough for the gateway's side of the tests.

import tls from 'node:tls';

const CONNECT = 1, CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBSCRIBE = 8, SUBACK = 9, DISCONNECT = 14;

const text = (value) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
};

function packet(kind, flags, ...parts) {
  const body = Buffer.concat(parts);
  const length = [];
  let rest = body.length;
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from([(kind << 4) | flags, ...length]), body]);
}

export class MqttClient {
  /** Gets `(topic, payload, retained)`. */
  onMessage = () => {};
  onClose = () => {};
  #socket;
  #buffer = Buffer.alloc(0);
  #waiting = new Map();
  #nextId = 1;

  /** Connects to a broker on the loopback. `identity` has `cert` and `key` in PEM. */
  static async connect({ port, ca, identity, clientId, servername }) {
    const client = new MqttClient();
    client.#socket = tls.connect({ host: '127.0.0.1', port, ca, ...identity, servername });
    client.#socket.on('data', (bytes) => client.#take(bytes));
    client.#socket.on('close', () => client.onClose());
    await new Promise((resolve, reject) => {
      client.#socket.once('secureConnect', resolve);
      client.#socket.once('error', reject);
    });
    client.#socket.on('error', () => {});
    const acknowledged = client.#answer(CONNACK);
    // Protocol level 4, clean session, keep-alive off: the test ends before it would matter.
    client.#socket.write(packet(CONNECT, 0, text('MQTT'), Buffer.from([4, 2, 0, 0]), text(clientId)));
    const { body } = await acknowledged;
    if (body[1] !== 0) throw new Error(`the broker declines: ${body[1]}`);
    return client;
  }

  async subscribe(topic) {
    const id = this.#id();
    const acknowledged = this.#answer(SUBACK);
    this.#socket.write(packet(SUBSCRIBE, 2, id, text(topic), Buffer.from([1])));
    const { body } = await acknowledged;
    if (body[2] > 1) throw new Error(`no permission to subscribe to ${topic}`);
  }

  /** Publishes; with QoS 1 the promise waits for the broker. */
  async publish(topic, payload, { qos = 1 } = {}) {
    const acknowledged = qos === 1 ? this.#answer(PUBACK) : null;
    this.#socket.write(packet(PUBLISH, qos << 1, text(topic), ...(qos === 1 ? [this.#id()] : []), Buffer.from(payload)));
    await acknowledged;
  }

  close() {
    this.#socket.end(packet(DISCONNECT, 0));
    this.#socket.destroySoon();
  }

  #id() {
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 0xffff) + 1;
    return Buffer.from([id >> 8, id & 0xff]);
  }

  #answer(kind) {
    return new Promise((resolve) => this.#waiting.set(kind, [...(this.#waiting.get(kind) ?? []), resolve]));
  }

  #take(bytes) {
    this.#buffer = Buffer.concat([this.#buffer, bytes]);
    for (;;) {
      let [length, at] = [0, 1];
      for (; ; at++) {
        if (at >= this.#buffer.length) return;
        length |= (this.#buffer[at] & 0x7f) << (7 * (at - 1));
        if (this.#buffer[at] < 0x80) break;
      }
      const start = at + 1;
      if (this.#buffer.length < start + length) return;
      const [first] = this.#buffer;
      const body = this.#buffer.subarray(start, start + length);
      this.#buffer = this.#buffer.subarray(start + length);
      this.#packet(first >> 4, first & 15, body);
    }
  }

  #packet(kind, flags, body) {
    if (kind !== PUBLISH) {
      this.#waiting.get(kind)?.shift()?.({ body });
      return;
    }
    const topicEnd = 2 + body.readUInt16BE(0);
    const qos = (flags >> 1) & 3;
    if (qos === 1) this.#socket.write(packet(PUBACK, 0, body.subarray(topicEnd, topicEnd + 2)));
    this.onMessage(body.subarray(2, topicEnd).toString(), Buffer.from(body.subarray(topicEnd + (qos > 0 ? 2 : 0))), Boolean(flags & 1));
  }
}
