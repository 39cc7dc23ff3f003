// Headers of Ethernet, IPv4, UDP and TCP, as far as the simulated network needs them. Pure functions on buffers.

export const ETHERTYPE_IP = 0x0800, ETHERTYPE_ARP = 0x0806;
export const PROTOCOL_ICMP = 1, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17;
export const BROADCAST_IP = '255.255.255.255';

export const ipBytes = (text) => Buffer.from(text.split('.').map(Number));
export const ipText = (bytes) => [...bytes].join('.');

/** The internet checksum (RFC 1071). */
export function checksum(bytes) {
  let sum = 0;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  if (bytes.length & 1) sum += bytes[bytes.length - 1] << 8;
  while (sum >>> 16) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function ethernet(to, from, type, payload) {
  const header = Buffer.alloc(14);
  to.copy(header, 0);
  from.copy(header, 6);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, payload]);
}

export function ipv4(from, to, protocol, payload) {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header[6] = 0x40;
  header[8] = 64;
  header[9] = protocol;
  ipBytes(from).copy(header, 12);
  ipBytes(to).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

/** `{ protocol, from, to, payload }`, or `null` for what is not IPv4 or has a wrong checksum. */
export function parseIpv4(packet) {
  if (packet.length < 20 || packet[0] >> 4 !== 4) return null;
  const headerLength = (packet[0] & 15) * 4;
  const total = packet.readUInt16BE(2);
  if (total > packet.length || headerLength > total || checksum(packet.subarray(0, headerLength)) !== 0) return null;
  return { protocol: packet[9], from: ipText(packet.subarray(12, 16)), to: ipText(packet.subarray(16, 20)), payload: packet.subarray(headerLength, total) };
}

export function udp(fromPort, toPort, payload) {
  const header = Buffer.alloc(8); // no checksum, which IPv4 allows
  header.writeUInt16BE(fromPort, 0);
  header.writeUInt16BE(toPort, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  return Buffer.concat([header, payload]);
}

/** A TCP segment with its checksum. `mss` adds that option. */
export function tcp({ from, to, fromPort, toPort, sequence, acknowledge, flags, window, data = Buffer.alloc(0), mss = 0 }) {
  const headerLength = mss ? 24 : 20;
  const segment = Buffer.alloc(headerLength + data.length);
  segment.writeUInt16BE(fromPort, 0);
  segment.writeUInt16BE(toPort, 2);
  segment.writeUInt32BE(sequence >>> 0, 4);
  segment.writeUInt32BE(acknowledge >>> 0, 8);
  segment[12] = (headerLength / 4) << 4;
  segment[13] = flags;
  segment.writeUInt16BE(window, 14);
  if (mss) {
    segment[20] = 2;
    segment[21] = 4;
    segment.writeUInt16BE(mss, 22);
  }
  data.copy(segment, headerLength);
  const pseudo = Buffer.alloc(12);
  ipBytes(from).copy(pseudo, 0);
  ipBytes(to).copy(pseudo, 4);
  pseudo[9] = PROTOCOL_TCP;
  pseudo.writeUInt16BE(segment.length, 10);
  segment.writeUInt16BE(checksum(Buffer.concat([pseudo, segment])), 16);
  return segment;
}

export function parseTcp(segment) {
  if (segment.length < 20) return null;
  const headerLength = (segment[12] >> 4) * 4;
  if (headerLength < 20 || headerLength > segment.length) return null;
  return {
    fromPort: segment.readUInt16BE(0),
    toPort: segment.readUInt16BE(2),
    sequence: segment.readUInt32BE(4),
    acknowledge: segment.readUInt32BE(8),
    flags: segment[13],
    window: segment.readUInt16BE(14),
    mss: maximumSegment(segment.subarray(20, headerLength)),
    data: segment.subarray(headerLength),
  };
}

function maximumSegment(options) {
  for (let i = 0; i < options.length && options[i] !== 0; i += options[i] === 1 ? 1 : Math.max(options[i + 1] ?? 2, 2)) {
    if (options[i] === 2 && i + 4 <= options.length) return options.readUInt16BE(i + 2);
  }
  return 536;
}
