// What runs inside the radio: SDPCM frames in and out (control, events, data), the requests that the driver makes, and the way to an access point.

const CHANNEL_CONTROL = 0, CHANNEL_EVENT = 1, CHANNEL_DATA = 2;
const IOCTL = { getRssi: 127, setSsid: 26, disassociate: 52, down: 3, getVariable: 262, setVariable: 263, setPassphrase: 268 };
const EVENT = { setSsid: 0, join: 1, auth: 3, deauthInd: 6, assoc: 7, link: 16, pskSup: 46 };
const STATUS = { success: 0, noNetworks: 3, unsolicited: 6, partial: 8 };
const REASON_HANDSHAKE_TIMEOUT = 15;
const BSSID = [0x02, 0, 0, 0, 0, 0x01];
const CREDITS = 16;
const MAX_QUEUE = 64;

export class Firmware {
  /** Frames for the host, oldest first. */
  queue = [];
  /** Bits of WL_GPIO; bit 0 is the LED of the board. */
  gpio = 0;
  running = false;
  dropped = 0;
  /** The next control request is answered with an error, on which the driver panics. */
  failNext = false;
  /** Gets each Ethernet frame that the driver sends while joined. */
  onFrame = () => {};
  #accessPoint;
  #mac;
  #onQueue;
  #sequenceIn = 0;
  #sequenceOut = 0;
  #passphrase = null;
  #joining = null;

  constructor({ accessPoint, mac, onQueue }) {
    this.#accessPoint = accessPoint;
    this.#mac = Buffer.from(mac);
    this.#onQueue = onQueue;
  }

  get joined() {
    return this.#accessPoint.has(this);
  }

  start() {
    this.running = true;
  }

  /** The power is off. */
  stop() {
    this.#accessPoint.leave(this);
    this.machine?.cancel(this.#joining);
    this.queue.length = 0;
    this.running = false;
    this.gpio = 0;
    this.#sequenceIn = this.#sequenceOut = 0;
    this.#passphrase = null;
  }

  /** A frame from the host. */
  take(frame) {
    if (!this.running || frame.length < 12) return;
    const length = frame.readUInt16LE(0);
    if ((length ^ frame.readUInt16LE(2)) !== 0xffff || length > frame.length) return;
    this.#sequenceIn = frame[4];
    const payload = frame.subarray(frame[7], length);
    if ((frame[5] & 0x0f) === CHANNEL_CONTROL) {
      this.#request(payload);
    } else if ((frame[5] & 0x0f) === CHANNEL_DATA) {
      const ethernet = Buffer.from(payload.subarray(4 + 4 * payload[3]));
      if (this.queue.length === 0) this.#push(CHANNEL_CONTROL, 12, Buffer.alloc(0)); // gives the credit back
      if (this.joined && this.#accessPoint.carries) this.onFrame(ethernet);
    }
  }

  /** An Ethernet frame from the network. */
  deliver(ethernet) {
    if (!this.joined || !this.#accessPoint.carries) return;
    if (this.queue.length >= MAX_QUEUE) {
      this.dropped++;
      return;
    }
    this.#push(CHANNEL_DATA, 14, Buffer.concat([Buffer.from([0x20, 0, 0, 0]), ethernet]));
  }

  // What the access point tells its station.

  joinEnds(result) {
    if (result === 'no network') return this.#event(EVENT.setSsid, STATUS.noNetworks);
    for (const type of [EVENT.auth, EVENT.assoc, EVENT.join, EVENT.setSsid]) this.#event(type, STATUS.success);
    if (result === 'wrong passphrase') return this.#event(EVENT.pskSup, STATUS.partial, { reason: REASON_HANDSHAKE_TIMEOUT });
    this.#event(EVENT.link, STATUS.success, { flags: 1 });
    this.#event(EVENT.pskSup, STATUS.unsolicited);
  }

  linkLost(reason) {
    this.#event(EVENT.link, STATUS.success, { flags: 0, reason });
  }

  deauthenticated(reason) {
    this.#event(EVENT.deauthInd, STATUS.success, { reason });
    this.linkLost(2);
  }

  #request(control) {
    if (control.length < 16) return;
    const command = control.readUInt32LE(0);
    const length = control.readUInt32LE(4);
    const data = control.subarray(16, 16 + length);
    const answer = Buffer.alloc(length);
    let after = () => {};
    switch (command) {
      case IOCTL.getVariable: this.#getVariable(data, answer); break;
      case IOCTL.setVariable: this.#setVariable(data); break;
      case IOCTL.getRssi: if (length >= 4) answer.writeInt32LE(this.joined ? this.#accessPoint.rssi : 0); break;
      case IOCTL.setPassphrase: this.#passphrase = data.subarray(4, 4 + data.readUInt16LE(0)).toString(); break;
      case IOCTL.setSsid: after = () => this.#join(data.subarray(4, 4 + data.readUInt32LE(0)).toString()); break;
      case IOCTL.disassociate: case IOCTL.down: after = () => this.#leave(); break;
    }
    const status = Buffer.alloc(4);
    if (this.failNext) status.writeInt32LE(-1);
    this.failNext = false;
    this.#push(CHANNEL_CONTROL, 12, Buffer.concat([control.subarray(0, 12), status, answer]));
    after();
  }

  #getVariable(data, answer) {
    const name = data.subarray(0, data.indexOf(0)).toString('latin1');
    if (name === 'cur_etheraddr') this.#mac.copy(answer);
    // Everything else, such as clmload_status, reads 0.
  }

  #setVariable(data) {
    const end = data.indexOf(0);
    const value = data.subarray(end + 1);
    switch (data.subarray(0, end).toString('latin1')) {
      case 'gpioout': this.gpio = (this.gpio & ~value.readUInt32LE(0)) | (value.readUInt32LE(4) & value.readUInt32LE(0)); break;
      case 'sae_password': this.#passphrase = value.subarray(2, 2 + value.readUInt16LE(0)).toString(); break;
    }
  }

  #join(ssid) {
    this.machine.cancel(this.#joining);
    this.#joining = this.#accessPoint.join(this, { ssid, passphrase: this.#passphrase });
  }

  #leave() {
    if (!this.joined) return;
    this.#accessPoint.leave(this);
    this.linkLost(2);
  }

  // Header lengths above 12 are padding between the headers.
  #push(channel, headerLength, payload) {
    const frame = Buffer.alloc(headerLength + payload.length);
    frame.writeUInt16LE(frame.length, 0);
    frame.writeUInt16LE(~frame.length & 0xffff, 2);
    frame[4] = this.#sequenceOut++ & 0xff;
    frame[5] = channel;
    frame[7] = headerLength;
    frame[9] = (this.#sequenceIn + 1 + CREDITS) & 0xff;
    payload.copy(frame, headerLength);
    this.queue.push(frame);
    this.#onQueue();
  }

  // BDC header, Ethernet header, Broadcom's event header and event message; big-endian but for the first.
  #event(type, status, { flags = 0, reason = 0 } = {}) {
    const event = Buffer.alloc(4 + 14 + 10 + 48);
    event[0] = 0x20;
    this.#mac.copy(event, 4);
    Buffer.from(BSSID).copy(event, 10);
    event.writeUInt16BE(0x886c, 16);
    event.writeUInt16BE(0x8001, 18);
    event.writeUInt16BE(48, 20);
    Buffer.from([0x00, 0x10, 0x18]).copy(event, 23);
    event.writeUInt16BE(1, 26);
    event.writeUInt16BE(2, 28);
    event.writeUInt16BE(flags, 30);
    event.writeUInt32BE(type, 32);
    event.writeUInt32BE(status, 36);
    event.writeUInt32BE(reason, 40);
    Buffer.from(BSSID).copy(event, 52);
    this.#push(CHANNEL_EVENT, 12, event);
  }
}
