// Keeps simulated time from running ahead of programs on the host that are about to answer.
//
// An idle chip jumps from alarm to alarm, some hundred times faster than real time. While something is expected from the host (a broker's answer,
// a message that a test has just published), simulated time goes no faster than real time, so that no timeout of the firmware comes true only
// because the broker had no chance to speak. It may always go slower.

const NAP_MS = 5;

export class Pacer {
  /** Simulated time never runs ahead of real time: a whole program on the host takes part. */
  realTime = false;
  #holdUntil = 0;
  #simMark = 0;
  #wallMark = 0;

  /** The host has something to say within so many (real) milliseconds. */
  hold(ms) {
    this.#holdUntil = Math.max(this.#holdUntil, performance.now() + ms);
  }

  /** The host has spoken; what was expected need not be waited for any longer than this. */
  release(ms = 0) {
    this.#holdUntil = performance.now() + ms;
  }

  /** Called after each slice. Gives the host's sockets their turn. */
  async pace(simNanos) {
    const now = performance.now();
    const ahead = (simNanos - this.#simMark) / 1e6 - (now - this.#wallMark);
    if ((!this.realTime && now >= this.#holdUntil) || ahead < 0) {
      this.#simMark = simNanos;
      this.#wallMark = now;
      await new Promise(setImmediate);
    } else {
      await new Promise((resolve) => (ahead > 1 ? setTimeout(resolve, Math.min(ahead, NAP_MS)) : setImmediate(resolve)));
    }
  }
}
