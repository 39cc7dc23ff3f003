// The network behind the access point: ARP, DHCP, DNS, ping, and TCP to servers that run on the host's loopback. Nothing leaves the machine.
//
// 10.0.0.1 is the router (DHCP, DNS), 10.0.0.2 the Pico; servers get addresses and names with `host`.

import {
  BROADCAST_IP, ETHERTYPE_ARP, ETHERTYPE_IP, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, checksum, ethernet, ipBytes, ipText, ipv4, parseIpv4, udp,
} from './packets.mjs';
import { Tcp } from './tcp.mjs';

const ROUTER = '10.0.0.1', PICO = '10.0.0.2';
const ROUTER_MAC = Buffer.from([2, 0, 0, 0, 0, 1]);
const BROADCAST_MAC = Buffer.alloc(6, 0xff);
const ONE_WAY_NS = 0.5e6;
const LEASE_S = 86_400;

export class Network {
  /** Share of frames that get lost, 0 … 1, each way. */
  loss = 0;
  /** Whether the router answers questions for names. */
  dns = true;
  #names = new Map();
  #servers = new Map();
  #refused = new Set();
  #dropped = new Set();
  #waiting = [];
  #picoMac = BROADCAST_MAC;
  #cut = false;

  constructor({ machine, wlan }) {
    this.machine = machine;
    this.#wlan = wlan;
    wlan.onFrame = (frame) => this.#receive(frame);
    this.tcp = new Tcp({
      machine,
      send: (from, to, segment) => this.#sendIp(this.#picoMac, from, to, PROTOCOL_TCP, segment),
      route: (ip, port) => this.#route(ip, port),
    });
  }

  #wlan;

  /** A server: its name, its address, and which port of it leads to which port of the host. */
  host(name, ip, ports) {
    if (name) this.#names.set(name.toLowerCase(), ip);
    this.#servers.set(ip, new Map(Object.entries(ports).map(([port, hostPort]) => [Number(port), hostPort])));
  }

  /** Where a server's port leads from now on. */
  redirect(ip, port, hostPort) {
    this.#servers.get(ip).set(port, hostPort);
  }

  /** The port answers with a reset. */
  refuse(port) {
    this.#refused.add(port);
  }

  /** The port does not answer. */
  drop(port) {
    this.#dropped.add(port);
  }

  accept(port) {
    this.#refused.delete(port);
    this.#dropped.delete(port);
  }

  /** Nothing gets through, though the radio is fine. */
  cut() {
    this.#cut = true;
  }

  mend() {
    this.#cut = false;
  }

  #route(ip, port) {
    if (this.#dropped.has(port)) return 'drop';
    const hostPort = this.#servers.get(ip)?.get(port);
    return this.#refused.has(port) || hostPort === undefined ? 'refuse' : { port: hostPort };
  }

  #lost() {
    return this.#cut || (this.loss > 0 && this.machine.random() / 2 ** 32 < this.loss);
  }

  #receive(frame) {
    if (frame.length < 14 || this.#lost()) return;
    const type = frame.readUInt16BE(12);
    this.#picoMac = Buffer.from(frame.subarray(6, 12));
    if (type === ETHERTYPE_ARP) this.#arp(frame.subarray(14));
    if (type !== ETHERTYPE_IP) return;
    const packet = parseIpv4(frame.subarray(14));
    if (!packet) return;
    const { protocol, from, to, payload } = packet;
    if (protocol === PROTOCOL_TCP) this.tcp.take(from, to, payload);
    if (protocol === PROTOCOL_UDP) this.#udp(from, to, payload);
    if (protocol === PROTOCOL_ICMP) this.#ping(from, to, payload);
  }

  // Frames come in the order they were sent; alarms of the same moment would not.
  #send(frame) {
    if (this.#lost()) return;
    this.#waiting.push(frame);
    this.machine.later(ONE_WAY_NS, () => this.#wlan.deliver(this.#waiting.shift()));
  }

  #sendIp(mac, from, to, protocol, payload) {
    this.#send(ethernet(mac, ROUTER_MAC, ETHERTYPE_IP, ipv4(from, to, protocol, payload)));
  }

  // The router answers for every address but the Pico's: all servers are behind it.
  #arp(request) {
    const target = ipText(request.subarray(24, 28));
    if (request.length < 28 || request.readUInt16BE(6) !== 1 || target === PICO || !target.startsWith('10.0.0.')) return;
    const reply = Buffer.from(request.subarray(0, 28));
    reply.writeUInt16BE(2, 6);
    ROUTER_MAC.copy(reply, 8);
    request.copy(reply, 14, 24, 28);
    request.copy(reply, 18, 8, 18);
    this.#send(ethernet(this.#picoMac, ROUTER_MAC, ETHERTYPE_ARP, reply));
  }

  #ping(from, to, payload) {
    if (payload[0] !== 8) return;
    const reply = Buffer.from(payload);
    reply[0] = 0;
    reply.writeUInt16BE(0, 2);
    reply.writeUInt16BE(checksum(reply), 2);
    this.#sendIp(this.#picoMac, to, from, PROTOCOL_ICMP, reply);
  }

  #udp(from, to, datagram) {
    if (datagram.length < 8) return;
    const port = datagram.readUInt16BE(2);
    const payload = datagram.subarray(8, datagram.readUInt16BE(4));
    if (port === 67) this.#dhcp(payload);
    if (port === 53 && this.dns) {
      const answer = this.#answer(payload);
      if (answer) this.#sendIp(this.#picoMac, to, from, PROTOCOL_UDP, udp(53, datagram.readUInt16BE(0), answer));
    }
  }

  #dhcp(request) {
    const OFFER = 2, ACK = 5;
    let kind = 0;
    for (let i = 240; i < request.length && request[i] !== 255; i += request[i] === 0 ? 1 : 2 + request[i + 1]) {
      if (request[i] === 53) kind = request[i + 2];
    }
    if (kind !== 1 && kind !== 3) return;
    const reply = Buffer.alloc(240);
    reply.set([2, 1, 6]);
    request.copy(reply, 4, 4, 8);
    request.copy(reply, 10, 10, 12);
    ipBytes(PICO).copy(reply, 16);
    ipBytes(ROUTER).copy(reply, 20);
    request.copy(reply, 28, 28, 44);
    reply.writeUInt32BE(0x63825363, 236);
    const lease = Buffer.alloc(4);
    lease.writeUInt32BE(LEASE_S);
    const router = ipBytes(ROUTER);
    const options = Buffer.from([
      53, 1, kind === 1 ? OFFER : ACK, 54, 4, ...router, 51, 4, ...lease, 1, 4, 255, 255, 255, 0, 3, 4, ...router, 6, 4, ...router, 255,
    ]);
    this.#sendIp(BROADCAST_MAC, ROUTER, BROADCAST_IP, PROTOCOL_UDP, udp(67, 68, Buffer.concat([reply, options])));
  }

  // One question for an address record; everything else does not exist.
  #answer(query) {
    if (query.length < 17) return null;
    const labels = [];
    let at = 12;
    for (; query[at] > 0 && at < query.length; at += 1 + query[at]) labels.push(query.subarray(at + 1, at + 1 + query[at]).toString('latin1'));
    const question = query.subarray(12, at + 5);
    const ip = query.readUInt16BE(at + 1) === 1 ? this.#names.get(labels.join('.').toLowerCase()) : undefined;
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(ip ? 0x8180 : 0x8183, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(ip ? 1 : 0, 6);
    const record = ip ? Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...ipBytes(ip)]) : Buffer.alloc(0);
    return Buffer.concat([header, question, record]);
  }
}
