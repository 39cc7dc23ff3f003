// An access point as its stations see it: there or not, the right passphrase or not. No radio behaviour; strings are compared, no key is derived.

// Times that the joining takes on the real chip, roughly.
const JOIN_NS = 300e6;
const SCAN_NS = 1500e6;
const HANDSHAKE_TIMEOUT_NS = 2500e6;
const BEACONS_LOST_NS = 1000e6;

export class AccessPoint {
  #stations = new Set();
  #up = true;
  #silent = false;

  constructor({ ssid = 'carport', passphrase = 'a long passphrase', rssi = -58 } = {}) {
    this.ssid = ssid;
    this.passphrase = passphrase;
    this.rssi = rssi;
    /** Joins that came to an end, as `[{ at, result }]`; results `joined`, `no network`, `wrong passphrase`. */
    this.attempts = [];
  }

  get isUp() {
    return this.#up;
  }

  /** Whether frames get through to a station that has joined. */
  get carries() {
    return this.#up && !this.#silent;
  }

  /** Gone. Stations notice the missing beacons after a second; with `silent` they never do, but nothing gets through. */
  down({ silent = false } = {}) {
    if (silent) {
      this.#silent = true;
      return;
    }
    this.#up = false;
    for (const station of this.#stations) {
      station.machine.later(BEACONS_LOST_NS, () => {
        if (!this.#up) this.#lose(station, () => station.linkLost(1));
      });
    }
  }

  up() {
    this.#up = true;
    this.#silent = false;
  }

  /** Sends all stations away (reason 7: a frame from a station that is not associated). */
  deauthenticate(reason = 7) {
    for (const station of [...this.#stations]) this.#lose(station, () => station.deauthenticated(reason));
  }

  /** A station wants to join; its `joinEnds(result)` is called when that is decided. */
  join(station, { ssid, passphrase }) {
    this.#stations.delete(station);
    const found = this.#up && !this.#silent && ssid === this.ssid;
    const result = !found ? 'no network' : passphrase === this.passphrase ? 'joined' : 'wrong passphrase';
    const takes = { joined: JOIN_NS, 'no network': SCAN_NS, 'wrong passphrase': HANDSHAKE_TIMEOUT_NS }[result];
    return station.machine.later(takes, () => {
      this.attempts.push({ at: station.machine.nanos, result });
      if (result === 'joined') this.#stations.add(station);
      station.joinEnds(result);
    });
  }

  leave(station) {
    this.#stations.delete(station);
  }

  has(station) {
    return this.#stations.has(station);
  }

  #lose(station, tell) {
    if (!this.#stations.delete(station)) return;
    tell();
  }
}
