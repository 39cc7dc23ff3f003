// What the frequent Thumb instructions do to registers, flags and memory; core.mjs decides which one it is. Each function takes the entry of its
// table and the instruction, and gives the cycles. The PC is already at the next instruction, 2 below what an instruction reads of it.

// Groups, in the high bits of a table entry; the low bits say which one.
export const SLOW = 0, SHIFT_ADD = 0x10, IMMEDIATE = 0x20, DATA = 0x30, HIGH = 0x40, LOAD_STORE = 0x50, OFFSET = 0x60, ADDRESS = 0x70, MULTIPLE = 0x80,
  BRANCH = 0x90;

// What a BX or POP to is a return from an exception.
const EXCEPTION_RETURN = 0xf000_0000;

const negated = (value) => ~value >>> 0;

/** Sums, shifts and the flags they leave. */
function flagsOf(core, r) {
  const result = (d, value) => {
    r[d] = value;
    core.N = (value & 0x8000_0000) !== 0;
    core.Z = (value & -1) === 0;
    return 1;
  };
  // a + b + carry, all unsigned; with b inverted and carry 1 it subtracts.
  const sum = (a, b, carry) => {
    const wide = a + b + carry;
    const value = wide >>> 0;
    core.N = value >>> 31 === 1;
    core.Z = value === 0;
    core.C = wide > 0xffff_ffff;
    core.V = ((~(a ^ b) & (a ^ value)) & 0x8000_0000) !== 0;
    return value;
  };
  const shift = (kind, value, by) => {
    if (by === 0) return value;
    if (kind === 0) {
      core.C = by <= 32 && ((by === 32 ? value : value >>> (32 - by)) & 1) === 1;
      return by < 32 ? value << by : 0;
    }
    if (kind === 1) {
      core.C = by <= 32 && ((value >>> (by - 1)) & 1) === 1;
      return by < 32 ? value >>> by : 0;
    }
    core.C = ((by >= 32 ? value >>> 31 : value >>> (by - 1)) & 1) === 1;
    return by >= 32 ? value >> 31 : value >> by;
  };
  const rotate = (value, by) => {
    if (by === 0) return value;
    const turned = by & 31 ? (value >>> (by & 31)) | (value << (32 - (by & 31))) : value;
    core.C = turned >>> 31 === 1;
    return turned;
  };
  return { result, sum, shift, rotate };
}

function dataOf(core, r, { result, sum, shift, rotate }) {
  return (entry, code) => {
    const d = code & 7;
    const a = r[d];
    const b = r[(code >> 3) & 7];
    switch (entry & 15) {
      case 0: return result(d, a & b);
      case 1: return result(d, a ^ b);
      case 2: return result(d, shift(0, a, b & 0xff));
      case 3: return result(d, shift(1, a, b & 0xff));
      case 4: return result(d, shift(2, a, b & 0xff));
      case 5: r[d] = sum(a, b, core.C ? 1 : 0); return 1;
      case 6: r[d] = sum(a, negated(b), core.C ? 1 : 0); return 1;
      case 7: return result(d, rotate(a, b & 0xff));
      case 8: core.N = ((a & b) & 0x8000_0000) !== 0; core.Z = (a & b) === 0; return 1;
      case 9: r[d] = sum(0, negated(b), 1); return 1;
      case 10: sum(a, negated(b), 1); return 1;
      case 11: sum(a, b, 0); return 1;
      case 12: return result(d, a | b);
      case 13: return result(d, Math.imul(a, b));
      case 14: return result(d, a & ~b);
      default: return result(d, ~b);
    }
  };
}

export function arithmeticOf(core, r) {
  const flags = flagsOf(core, r);
  const { result, sum, shift } = flags;
  const data = dataOf(core, r, flags);
  return (entry, code) => {
    if (entry >= DATA) return data(entry, code);
    const d = code & 7;
    const n = (code >> 3) & 7;
    const third = (code >> 6) & 7;
    const wide = (code >> 8) & 7;
    switch (entry) {
      case SHIFT_ADD: return result(d, shift(0, r[n], (code >> 6) & 31));
      case SHIFT_ADD | 1: return result(d, shift(1, r[n], (code >> 6) & 31 || 32));
      case SHIFT_ADD | 2: return result(d, shift(2, r[n], (code >> 6) & 31 || 32));
      case SHIFT_ADD | 4: r[d] = sum(r[n], r[third], 0); return 1;
      case SHIFT_ADD | 5: r[d] = sum(r[n], negated(r[third]), 1); return 1;
      case SHIFT_ADD | 6: r[d] = sum(r[n], third, 0); return 1;
      case SHIFT_ADD | 7: r[d] = sum(r[n], negated(third), 1); return 1;
      case IMMEDIATE: return result(wide, code & 0xff);
      case IMMEDIATE | 1: sum(r[wide], negated(code & 0xff), 1); return 1;
      case IMMEDIATE | 2: r[wide] = sum(r[wide], code & 0xff, 0); return 1;
      default: r[wide] = sum(r[wide], negated(code & 0xff), 1); return 1;
    }
  };
}

export function addressOf(core, r) {
  return (entry, code) => {
    const d = code & 7;
    const m = r[(code >> 3) & 7];
    const wide = (code >> 8) & 7;
    switch (entry & 15) {
      case 0: r[wide] = ((r[15] + 2) & ~3) + ((code & 0xff) << 2); return 1;
      case 1: r[wide] = r[13] + ((code & 0xff) << 2); return 1;
      case 2: core.SP = r[13] + ((code & 0x7f) << 2); return 1;
      case 3: core.SP = r[13] - ((code & 0x7f) << 2); return 1;
      case 4: r[d] = (m << 16) >> 16; return 1;
      case 5: r[d] = (m << 24) >> 24; return 1;
      case 6: r[d] = m & 0xffff; return 1;
      case 7: r[d] = m & 0xff; return 1;
      default: r[d] = (m << 24) | ((m & 0xff00) << 8) | ((m >>> 8) & 0xff00) | (m >>> 24); return 1;
    }
  };
}

export function transferOf(core, r, memory) {
  const { cycles, load32, load16, load8, store32, store16, store8 } = memory;
  const indexed = (entry, code) => {
    const at = (r[(code >> 3) & 7] + r[(code >> 6) & 7]) >>> 0;
    const t = code & 7;
    switch (entry & 7) {
      case 0: store32(at, r[t]); return 1 + cycles(at, true);
      case 1: store16(at, r[t]); return 1 + cycles(at, true);
      case 2: store8(at, r[t]); return 1 + cycles(at, true);
      case 3: r[t] = (load8(at) << 24) >> 24; break;
      case 4: r[t] = load32(at); break;
      case 5: r[t] = load16(at); break;
      case 6: r[t] = load8(at); break;
      default: r[t] = (load16(at) << 16) >> 16; break;
    }
    return 1 + cycles(at, false);
  };
  const one = (entry, code) => {
    if (entry < OFFSET) return indexed(entry, code);
    const base = r[(code >> 3) & 7];
    const t = code & 7;
    const by = (code >> 6) & 31;
    const wide = (code >> 8) & 7;
    let at;
    switch (entry & 15) {
      case 0: at = (base + by * 4) >>> 0; store32(at, r[t]); return 1 + cycles(at, true);
      case 1: at = (base + by * 4) >>> 0; r[t] = load32(at); return 1 + cycles(at, false);
      case 2: at = (base + by) >>> 0; store8(at, r[t]); return 1 + cycles(at, true);
      case 3: at = (base + by) >>> 0; r[t] = load8(at); return 1 + cycles(at, false);
      case 4: at = (base + by * 2) >>> 0; store16(at, r[t]); return 1 + cycles(at, true);
      case 5: at = (base + by * 2) >>> 0; r[t] = load16(at); return 1 + cycles(at, false);
      case 6: at = (r[13] + (code & 0xff) * 4) >>> 0; store32(at, r[wide]); return 1 + cycles(at, true);
      case 7: at = (r[13] + (code & 0xff) * 4) >>> 0; r[wide] = load32(at); return 1 + cycles(at, false);
      default: at = (((r[15] + 2) & ~3) + (code & 0xff) * 4) >>> 0; r[wide] = load32(at); return 1 + cycles(at, false);
    }
  };
  const many = (entry, code) => {
    const list = code & 0xff;
    const extra = (code >> 8) & 1;
    const base = (code >> 8) & 7;
    let at;
    let count = 0;
    for (let bits = list; bits; bits &= bits - 1) count++;
    switch (entry & 15) {
      case 0:
        at = (r[13] - 4 * (count + extra)) >>> 0;
        core.SP = at;
        for (let i = 0; i < 8; i++) if (list & (1 << i)) { store32(at, r[i]); at += 4; }
        if (extra) store32(at, r[14]);
        return 1 + count + extra;
      case 1:
        at = r[13];
        for (let i = 0; i < 8; i++) if (list & (1 << i)) { r[i] = load32(at); at += 4; }
        core.SP = at + 4 * extra;
        if (!extra) return 1 + count;
        jump(core, r, load32(at));
        return 3 + count;
      case 2:
        at = r[base];
        for (let i = 0; i < 8; i++) if (list & (1 << i)) { store32(at, r[i]); at += 4; }
        r[base] = at;
        return 1 + count;
      default:
        at = r[base];
        for (let i = 0; i < 8; i++) if (list & (1 << i)) { r[i] = load32(at); at += 4; }
        if (!(list & (1 << base))) r[base] = at;
        return 1 + count;
    }
  };
  return { one, many };
}

function jump(core, r, to) {
  if (to >= EXCEPTION_RETURN) core.BXWritePC(to); // sets interruptsUpdated, so the next instruction is a slow one
  else r[15] = to & ~1;
}

export function branchOf(core, r, slowly, fetch) {
  const high = (entry, code) => {
    const m = (code >> 3) & 15;
    const d = (code & 7) | ((code >> 4) & 8);
    const value = m === 15 ? r[15] + 2 : r[m];
    if ((entry & 3) === 3) {
      const back = r[15];
      jump(core, r, value);
      if (code & 0x80) r[14] = back | 1;
      return 2;
    }
    if ((entry & 3) === 1) {
      const a = d === 15 ? r[15] + 2 : r[d];
      const difference = a - value;
      core.N = (difference & 0x8000_0000) !== 0;
      core.Z = (difference & -1) === 0;
      core.C = a >= value;
      core.V = (((a ^ value) & (a ^ difference)) & 0x8000_0000) !== 0;
      return 1;
    }
    const to = (entry & 3) === 0 ? (d === 15 ? r[15] + 2 : r[d]) + value : value;
    if (d === 15) {
      r[15] = to & ~1;
      return 2;
    }
    if (d === 13) core.SP = to;
    else r[d] = to;
    return 1;
  };
  const holds = (condition) => {
    switch (condition >> 1) {
      case 0: return core.Z;
      case 1: return core.C;
      case 2: return core.N;
      case 3: return core.V;
      case 4: return core.C && !core.Z;
      case 5: return core.N === core.V;
      default: return core.N === core.V && !core.Z;
    }
  };
  const near = (entry, code) => {
    const next = r[15];
    if (entry === BRANCH) {
      const condition = (code >> 8) & 15;
      if (holds(condition) === ((condition & 1) === 1)) return 1;
      r[15] = next + 2 + ((code << 24) >> 23);
      return 2;
    }
    if (entry === (BRANCH | 1)) {
      r[15] = next + 2 + ((code << 21) >> 20);
      return 2;
    }
    const second = fetch(next);
    if (second >> 14 !== 3 || !(second & 0x1000)) {
      r[15] = next - 2;
      return slowly();
    }
    const sign = (code >> 10) & 1;
    const i1 = 1 - (sign ^ ((second >> 13) & 1));
    const i2 = 1 - (sign ^ ((second >> 11) & 1));
    r[14] = (next + 2) | 1;
    r[15] = next + 2 + ((sign ? 0xff00_0000 : 0) | (i1 << 23) | (i2 << 22) | ((code & 0x3ff) << 12) | ((second & 0x7ff) << 1));
    return 3;
  };
  return { high, near };
}
