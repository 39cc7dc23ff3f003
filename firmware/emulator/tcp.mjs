// TCP between the Pico's stack and sockets of the host: this side speaks for every server. Times are simulated ones.
//
//   SYN ──▶ connecting ──socket open──▶ established ──FIN both ways──▶ gone
//              └── socket refused: RST            └── RST, socket error, 8 vain retransmissions: gone

import net from 'node:net';
import { parseTcp, tcp } from './packets.mjs';

const FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16;
const WINDOW = 16384;
const MAX_FLIGHT = 2920;
const MAX_FLOWS = 16;
const MAX_BUFFERED = 256 * 1024;
const FIRST_TIMEOUT_NS = 1e9;
const MAX_TRIES = 8;
// How long the host may think before simulated time runs on (see pacer.mjs).
const HOST_ANSWERS_MS = 400;
const HOST_GOES_ON_MS = 40;

const ahead = (a, b) => (a - b) | 0;

export class Tcp {
  #flows = new Map();

  /** `send(from, to, segment)` sends to the Pico; `route(ip, port)` gives `{ port }` of the host's loopback, `'refuse'` or `'drop'`. */
  constructor({ machine, send, route }) {
    this.machine = machine;
    this.send = send;
    this.route = route;
    /** Connections the Pico has asked for, and those that came about. */
    this.attempts = 0;
    this.opened = 0;
  }

  get open() {
    return this.#flows.size;
  }

  /** A segment from the Pico. */
  take(from, to, bytes) {
    const segment = parseTcp(bytes);
    if (!segment) return;
    const key = `${segment.fromPort} ${to}:${segment.toPort}`;
    const flow = this.#flows.get(key);
    if (segment.flags & SYN) this.#takeSyn(key, flow, from, to, segment);
    else if (flow) this.#takeSegment(flow, segment);
    else if (!(segment.flags & RST)) this.#reject(from, to, segment);
  }

  /** Resets all connections, as a router does that has lost its table. */
  resetAll() {
    for (const flow of [...this.#flows.values()]) {
      this.#emit(flow, RST | ACK);
      this.#drop(flow);
    }
  }

  /** Forgets all connections and tells nobody. */
  forgetAll() {
    for (const flow of [...this.#flows.values()]) this.#drop(flow);
  }

  #takeSyn(key, old, from, to, segment) {
    if (old && !old.established && old.received === ((segment.sequence + 1) >>> 0)) return; // the same again, still connecting
    if (old) this.#drop(old);
    this.attempts++;
    const route = this.#flows.size < MAX_FLOWS ? this.route(to, segment.toPort) : 'refuse';
    if (route === 'drop') return;
    if (route === 'refuse') return this.#reject(from, to, segment);
    const iss = this.machine.random();
    const flow = {
      key, guest: from, server: to, guestPort: segment.fromPort, serverPort: segment.toPort, received: (segment.sequence + 1) >>> 0, sent: iss, acked: iss,
      window: segment.window, mss: Math.min(segment.mss, 1460), out: Buffer.alloc(0), established: false, hostEnded: false, finSent: false, guestEnded: false,
      tries: 0, timer: null, socket: net.connect({ host: '127.0.0.1', port: route.port }),
    };
    this.#flows.set(key, flow);
    this.machine.pacer.hold(HOST_ANSWERS_MS);
    this.#listen(flow);
  }

  #listen(flow) {
    const { socket, key } = flow;
    const current = () => this.#flows.get(key) === flow;
    socket.setNoDelay(true);
    socket.on('connect', () => {
      if (!current()) return;
      this.opened++;
      this.machine.pacer.release(HOST_GOES_ON_MS);
      this.#emit(flow, SYN | ACK, { mss: 1460 });
      flow.sent = (flow.sent + 1) >>> 0;
      this.#startTimer(flow);
    });
    socket.on('data', (bytes) => {
      if (!current()) return;
      this.machine.pacer.release(HOST_GOES_ON_MS);
      flow.out = Buffer.concat([flow.out, bytes]);
      if (flow.out.length > MAX_BUFFERED) socket.pause();
      this.#pump(flow);
    });
    socket.on('end', () => {
      flow.hostEnded = true;
      if (current()) this.#pump(flow);
    });
    socket.on('error', () => {
      if (!current()) return;
      this.machine.pacer.release();
      this.#emit(flow, RST | ACK);
      this.#drop(flow);
    });
  }

  #takeSegment(flow, segment) {
    if (segment.flags & RST) return this.#drop(flow);
    flow.window = segment.window;
    if (segment.flags & ACK) this.#takeAcknowledgement(flow, segment.acknowledge);
    const { data } = segment;
    if (data.length > 0) {
      if (segment.sequence === flow.received) {
        flow.received = (flow.received + data.length) >>> 0;
        this.machine.pacer.hold(HOST_ANSWERS_MS);
        flow.socket.write(Buffer.from(data));
      }
      this.#emit(flow, ACK);
    }
    if (segment.flags & FIN && ((segment.sequence + data.length) >>> 0) === flow.received && !flow.guestEnded) {
      flow.received = (flow.received + 1) >>> 0;
      flow.guestEnded = true;
      this.#emit(flow, ACK);
      flow.socket.end();
    }
    if (flow.finSent && flow.guestEnded && flow.acked === flow.sent) return this.#drop(flow);
    this.#pump(flow);
  }

  #takeAcknowledgement(flow, acknowledge) {
    const advance = ahead(acknowledge, flow.acked);
    if (advance <= 0 || ahead(acknowledge, flow.sent) > 0) return;
    let bytes = advance;
    if (!flow.established) {
      flow.established = true;
      bytes -= 1;
    }
    flow.out = flow.out.subarray(Math.min(bytes, flow.out.length));
    flow.acked = acknowledge;
    flow.tries = 0;
    this.machine.cancel(flow.timer);
    flow.timer = null;
    if (flow.acked !== flow.sent) this.#startTimer(flow);
    if (flow.out.length <= MAX_BUFFERED) flow.socket.resume();
  }

  #pump(flow) {
    if (!flow.established || flow.finSent) return;
    const limit = Math.min(flow.window, MAX_FLIGHT, flow.out.length);
    for (let from = ahead(flow.sent, flow.acked); from < limit; ) {
      const data = flow.out.subarray(from, Math.min(from + flow.mss, limit));
      this.#emit(flow, PSH | ACK, { data });
      flow.sent = (flow.sent + data.length) >>> 0;
      from += data.length;
      this.#startTimer(flow);
    }
    if (flow.hostEnded && flow.out.length === 0) {
      this.#emit(flow, FIN | ACK);
      flow.sent = (flow.sent + 1) >>> 0;
      flow.finSent = true;
      this.#startTimer(flow);
    }
  }

  #startTimer(flow) {
    flow.timer ??= this.machine.later(FIRST_TIMEOUT_NS * 2 ** Math.min(flow.tries, 3), () => {
      flow.timer = null;
      if (this.#flows.get(flow.key) !== flow) return;
      if (++flow.tries > MAX_TRIES) return this.#drop(flow);
      this.#repeat(flow);
    });
  }

  #repeat(flow) {
    flow.sent = flow.acked;
    if (!flow.established) {
      this.#emit(flow, SYN | ACK, { mss: 1460 });
      flow.sent = (flow.sent + 1) >>> 0;
      this.#startTimer(flow);
    } else {
      flow.finSent = false;
      this.#pump(flow);
    }
  }

  #emit(flow, flags, { data, mss } = {}) {
    const { server, guest, serverPort, guestPort } = flow;
    this.send(server, guest, tcp({
      from: server, to: guest, fromPort: serverPort, toPort: guestPort, sequence: flow.sent, acknowledge: flow.received, flags, window: WINDOW, data, mss,
    }));
  }

  #reject(from, to, segment) {
    const acknowledge = (segment.sequence + segment.data.length + (segment.flags & SYN ? 1 : 0)) >>> 0;
    const sequence = segment.flags & ACK ? segment.acknowledge : 0;
    this.send(to, from, tcp({ from: to, to: from, fromPort: segment.toPort, toPort: segment.fromPort, sequence, acknowledge, flags: RST | ACK, window: 0 }));
  }

  #drop(flow) {
    this.machine.cancel(flow.timer);
    if (this.#flows.get(flow.key) === flow) this.#flows.delete(flow.key);
    flow.socket.destroy();
  }
}
