// What rp2040js 1.4.1 lacks or does differently from the chip, as far as the firmware (embassy-rp) can tell. Each patch says what goes wrong without it.
// The UART is replaced as a whole (pl011.mjs); the ROM is in rom.mjs.

const PERIPHERAL = { timer: 0x40054, rosc: 0x40060, xipCtrl: 0x14000 };
const WAITS_FOR_OUT = 5;

/** Patches a fresh chip. `onReset` is called when the software asks for a reset, `onBadAddress` for an access to nothing, `random` gives bits. */
export function patchChip(chip, { onReset, onBadAddress, random }) {
  chip.logger = eventLogger(chip, onBadAddress);
  patchTimer(chip.peripherals[PERIPHERAL.timer]);
  patchRosc(chip.peripherals[PERIPHERAL.rosc], random);
  chip.peripherals[PERIPHERAL.xipCtrl] = xipControl();
  patchSystemReset(chip.ppb, onReset);
  return patchPio(chip);
}

// SEV is only logged, so an executor that sleeps with WFE would sleep through its own wake-ups. The log is therefore where it is seen.
// Accesses to addresses where nothing is are only logged as well; on the chip they are hard faults.
function eventLogger(chip, onBadAddress) {
  return {
    debug() {},
    info(_name, text) {
      if (text !== 'SEV') return;
      chip.core.eventRegistered = true;
      chip.core.waiting = false;
    },
    warn(name, text) {
      if (name === 'RP2040' || name === 'CortexM0Core') onBadAddress(text);
    },
    error(name, text) {
      onBadAddress(`${name}: ${text}`);
    },
  };
}

// Alarms are set to whole microseconds counted from a truncated now and ring up to 1 µs early; embassy's driver then re-arms for a moment that is
// "now" and would miss it, for 71 minutes.
function patchTimer(timer) {
  const write = timer.writeUint32.bind(timer);
  timer.writeUint32 = (offset, value) => {
    if (offset < 0x10 || offset > 0x1c) return write(offset, value);
    const alarm = timer.alarms[(offset - 0x10) / 4];
    const { nanos } = timer.clock;
    const micros = Math.floor(nanos / 1000);
    const delta = ((value - micros) >>> 0) * 1000 - (nanos - micros * 1000);
    alarm.armed = true;
    alarm.targetMicros = value;
    alarm.clockAlarm.schedule(Math.max(delta, 0));
  };
}

// Not there at all: RANDOMBIT would read 1 for ever, and embassy's generator waits for ones and zeroes.
function patchRosc(rosc, random) {
  const RANDOMBIT = 0x1c;
  const STABLE_AND_ENABLED = 0x8100_1000;
  rosc.readUint32 = (offset) => (offset === RANDOMBIT ? random() : STABLE_AND_ENABLED);
  rosc.writeUint32 = () => {};
}

// Not there at all: code that flushes the cache waits for "flush ready" for ever.
function xipControl() {
  const STATUS = 0x08;
  return { readUint32: (offset) => (offset === STATUS ? 0b11 : 0), writeUint32() {}, writeUint32Atomic() {} };
}

// AIRCR.SYSRESETREQ, which a panic handler may use, does nothing.
function patchSystemReset(ppb, onReset) {
  const AIRCR = 0xd0c;
  const KEY_AND_REQUEST = 0x05fa_0004;
  const write = ppb.writeUint32.bind(ppb);
  ppb.writeUint32 = (offset, value) => {
    if (offset !== AIRCR) return write(offset, value);
    if ((value >>> 0) === KEY_AND_REQUEST) onReset();
  };
}

/** PIO state machines that run in step with the processor. Gives the function that makes one step and says whether there was one to make. */
function patchPio(chip) {
  let running = [];
  for (const pio of chip.pio) {
    pio.run = () => {}; // would step by setTimeout, with no relation to the processor's time
    for (const machine of pio.machines) patchStateMachine(machine);
    const write = pio.writeUint32.bind(pio);
    pio.writeUint32 = (offset, value) => {
      write(offset, value);
      if (offset === 0) running = chip.pio.flatMap((each) => each.machines.filter((machine) => machine.enabled));
    };
  }
  return () => {
    let stepped = false;
    for (let i = 0; i < running.length; i++) {
      const machine = running[i];
      if (machine.waiting) continue;
      machine.step();
      machine.pio.checkChangedPins();
      stepped = true;
    }
    return stepped;
  };
}

function patchStateMachine(machine) {
  const FORCED_INSTRUCTION = 0x10;
  machine.outputShiftCount = 32; // empty after reset; counted as full, the first forced OUT gives stale bits
  const write = machine.writeUint32.bind(machine);
  machine.writeUint32 = (offset, value) => {
    if (offset === FORCED_INSTRUCTION && machine.waiting) {
      // A forced instruction takes the place of a stalled one. A stalled autopull had counted the register as full; it is still empty.
      if (machine.waitType === WAITS_FOR_OUT) machine.outputShiftCount = 32;
      machine.waiting = false;
    }
    write(offset, value);
  };
  const check = machine.checkWait.bind(machine);
  machine.checkWait = () => {
    if (machine.enabled) check(); // a machine that is off must not go on when its FIFO is filled
  };
}
