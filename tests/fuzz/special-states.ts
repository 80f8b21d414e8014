// What particular instructions want of a random state so that their interesting paths run: quotients that fit, counts
// near the operand size, equal strings, images to restore, targets that hold code. Keyed by lifting function.

import { FXSAVE } from '../oracle/fuzz-case.ts';
import { CODE_BASE, SELECTOR } from '../oracle/layout.ts';
import { NO_REGISTER } from './assembler.ts';
import {
  type CaseDraft,
  FLAG,
  fillX87,
  littleEndian,
  operandSize,
  RAX,
  RBP,
  RBX,
  RCX,
  RDI,
  RDX,
  RSI,
  RSP,
} from './case-draft.ts';
import { randomInteger, randomOperandBytes } from './values.ts';

interface SpecialState {
  /** Before the memory operand is solved; may be overwritten by it. */
  readonly registers?: (draft: CaseDraft) => void;
  /** After it, when draft.memoryTarget is known. */
  readonly memory?: (draft: CaseDraft) => void;
}

const unsigned = (value: bigint, sizeBytes: number) => BigInt.asUintN(sizeBytes * 8, value);
const signed = (value: bigint, sizeBytes: number) => BigInt.asIntN(sizeBytes * 8, value);

/** Selectors of every kind: good and bad types, null, beyond the tables, kernel's, of other privilege. */
const DATA_SELECTORS: readonly number[] = [
  0,
  3,
  0x2b,
  0x2b,
  0x28,
  SELECTOR.data16,
  SELECTOR.data32,
  SELECTOR.expandDown,
  SELECTOR.readOnly,
  SELECTOR.code16,
  SELECTOR.code32,
  0x23,
  0x33,
  0x10,
  0x18,
  0x1b,
  0x43,
  0x63,
  0x5f,
  0xfff8,
];
const CODE_SELECTORS: readonly number[] = [
  0x33,
  0x33,
  0x33,
  0x23,
  0x23,
  0x23,
  SELECTOR.code32,
  SELECTOR.code32,
  SELECTOR.code16,
  SELECTOR.code16,
  0x30,
  0x2b,
  0,
  0x10,
  SELECTOR.data32,
  0x43,
  0x5f,
  0xfff8,
];
/** Safe in SS while the instruction's successor runs. */
const STACK_SELECTORS: readonly number[] = [
  0x2b,
  0x2b,
  SELECTOR.data16,
  SELECTOR.data32,
  0x28,
  0,
  3,
  0x33,
  SELECTOR.readOnly,
  0x5f,
];

const operandBytesOf = (draft: CaseDraft) =>
  draft.instance.row.operands.some((code) => /^(Eb|Gb|AL|Yb|Xb)$/.test(code)) ? 1 : draft.instance.operandBytes;

/** Linear address that the stack pointer names. */
const stackLinear = (draft: CaseDraft): bigint => {
  const base = draft.segmentBase(2);
  const { ss, gpr } = draft.state;
  const narrow = draft.mode !== 64 && ss === SELECTOR.data16;
  return base + (narrow ? gpr[RSP]! & 0xffffn : gpr[RSP]!);
};

const pushValues = (draft: CaseDraft, values: readonly bigint[], sizeBytes: number) => {
  values.forEach((value, i) => {
    draft.patchInteger(stackLinear(draft) + BigInt(i * sizeBytes), unsigned(value, sizeBytes), sizeBytes);
  });
};

const smallCount = (draft: CaseDraft): void => {
  if (draft.random.chance(0.8)) draft.setLow(RCX, BigInt(draft.random.below(72)), 1);
};

/** An offset for the code segment `selector` that mostly lands on a breakpoint. */
const farOffset = (draft: CaseDraft, selector: number): bigint => {
  const local = selector === SELECTOR.code16 || selector === SELECTOR.code32;
  if (draft.random.chance(0.1)) return randomInteger(draft.random);
  return BigInt((local ? 0 : CODE_BASE) + 0x100 + draft.random.below(0x600));
};

const divide = (isSigned: boolean): SpecialState => ({
  memory: (draft) => {
    const { random, instance } = draft;
    if (random.chance(0.15)) return;
    const size = operandBytesOf(draft);
    const limit = 1n << BigInt(size * 8 - (isSigned ? 1 : 0));
    let divisor = unsigned(randomInteger(random), size);
    if (isSigned) divisor = signed(divisor, size);
    const magnitude = divisor < 0n ? -divisor : divisor;
    let quotient = unsigned(randomInteger(random), size) % limit;
    if (isSigned && random.chance(0.5)) quotient = -quotient - (random.chance(0.1) ? 1n : 0n);
    const rest = magnitude === 0n ? 0n : random.u64() % magnitude;
    const dividend = quotient * divisor + (isSigned && quotient * divisor < 0n ? -rest : rest);
    if (size === 1) draft.setLow(RAX, dividend, 2);
    else {
      draft.setLow(RAX, dividend, size);
      draft.setLow(RDX, dividend >> BigInt(size * 8), size);
    }
    const { rm, memory } = instance;
    // Where the divisor is part of the dividend, or addresses memory, the state stays random.
    if (memory !== undefined) {
      if (![memory.base, memory.index].some((r) => r === RAX || r === RDX)) draft.setRm(divisor, size);
    } else if (rm !== RAX && rm !== RDX && !(size === 1 && rm === 4)) draft.setRm(divisor, size);
  },
});

const bitOffset: SpecialState = {
  registers: (draft) => {
    const { random, instance } = draft;
    if (instance.immediateBytes > 0 || instance.reg === NO_REGISTER || random.chance(0.1)) return;
    draft.setRegister(instance.reg, BigInt(random.between(-800, 800)));
    if (instance.operandBytes < 8 && random.chance(0.3)) {
      draft.setLow(instance.reg, BigInt(random.between(-800, 800)), instance.operandBytes);
    }
  },
};

const compareExchange: SpecialState = {
  memory: (draft) => {
    const { random, instance, state } = draft;
    if (random.chance(0.5)) return;
    draft.setRm(state.gpr[RAX]!, operandBytesOf(draft));
    if (instance.memory === undefined && random.chance(0.2)) draft.setRegister(RAX, state.gpr[instance.rm]!);
  },
};

const compareExchangePair: SpecialState = {
  memory: (draft) => {
    const { random, instance, state, memoryTarget } = draft;
    if (instance.memory === undefined || random.chance(0.4)) return;
    const half = instance.operandBytes === 8 ? 8 : 4;
    draft.patchInteger(memoryTarget, unsigned(state.gpr[RAX]!, half), half);
    draft.patchInteger(memoryTarget + BigInt(half), unsigned(state.gpr[RDX]!, half), half);
  },
};

const setAddressRegister = (draft: CaseDraft, index: number, segment: number, linear: bigint): void => {
  const { random, instance, mode } = draft;
  const { addressBytes } = instance;
  const offset = unsigned(linear - draft.segmentBase(segment), addressBytes);
  if (addressBytes === 8 || (addressBytes === 4 && mode !== 64)) draft.setRegister(index, offset);
  else {
    draft.setRegister(index, random.u64());
    draft.setLow(index, offset, addressBytes);
  }
};

const segmentPrefixOf = (draft: CaseDraft, otherwise: number): number => {
  const prefixes = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
  for (const byte of draft.instance.bytes) {
    const found = prefixes.indexOf(byte);
    if (found >= 0) return draft.mode === 64 && found < 4 ? otherwise : found;
    if (byte !== 0x66 && byte !== 0x67 && byte !== 0xf2 && byte !== 0xf3 && byte !== 0xf0) break;
  }
  return otherwise;
};

const string: SpecialState = {
  memory: (draft) => {
    const { random, instance, state } = draft;
    const size = operandBytesOf(draft);
    const backwards = (state.rflags & FLAG.DF) !== 0n;
    // With a count of 0 AMD processors check the I/O permission of INS and OUTS, Intel's do not.
    const port = instance.row.lift === 'ins' || instance.row.lift === 'outs';
    const count =
      !port && random.chance(0.1) ? 0 : random.chance(0.85) ? random.between(1, 20) : random.between(1, 600);
    if (port || instance.repeatPrefix !== 0 || random.chance(0.5)) {
      if (port || random.chance(0.97)) draft.setRegister(RCX, random.u64());
      draft.setLow(RCX, BigInt(count), instance.addressBytes);
    }
    const source = draft.chooseTarget(size * 2);
    let destination = draft.chooseTarget(size * 2);
    if (random.chance(0.3)) destination = source + BigInt(random.between(-16, 16));
    setAddressRegister(draft, RSI, segmentPrefixOf(draft, 3), source);
    setAddressRegister(draft, RDI, 0, destination);
    const length = 32 * size;
    const start = (linear: bigint) => (backwards ? linear - BigInt(length - size) : linear);
    const content = random.chance(0.3) ? new Uint8Array(length) : randomOperandBytes(random, 'bytes', length);
    draft.patch(start(source), content);
    if (!/^(cmps|scas)$/.test(instance.row.lift)) return;
    const other = content.slice();
    for (let i = random.below(4); i > 0; i--) other[random.below(length)] = random.below(256);
    draft.patch(start(destination), other);
    if (instance.row.lift === 'scas') {
      if (random.chance(0.5)) draft.patch(start(destination), new Uint8Array(length));
      draft.setLow(RAX, random.chance(0.6) ? 0n : BigInt(content[0]!), size);
    }
  },
};

const branchTarget = (draft: CaseDraft): void => {
  const { random, instance, code, state } = draft;
  const size = instance.immediateBytes;
  const next = state.rip + BigInt(code.length);
  let displacement = draft.chooseCodeOffset() - next;
  const fits =
    size === 1 ? BigInt.asIntN(8, displacement) === displacement : BigInt.asIntN(32, displacement) === displacement;
  const inside = (value: bigint) => value < 0n && value >= -BigInt(code.length);
  while (!fits || inside(displacement)) {
    displacement = BigInt.asIntN(size * 8, BigInt(random.u32()));
    if (!inside(displacement)) break;
  }
  draft.fillImmediate(BigInt.asUintN(size * 8, displacement));
};

const relative: SpecialState = { memory: branchTarget };

const countedBranch: SpecialState = {
  memory: (draft) => {
    const { random, instance } = draft;
    branchTarget(draft);
    if (random.chance(0.3)) return;
    draft.setRegister(RCX, random.u64());
    draft.setLow(RCX, BigInt(random.below(3)), instance.addressBytes);
  },
};

const indirectBranch: SpecialState = {
  registers: (draft) => {
    if (draft.instance.memory === undefined) draft.setRm(draft.chooseCodeOffset(), draft.instance.operandBytes);
  },
  memory: (draft) => {
    const { instance } = draft;
    if (instance.memory !== undefined) {
      draft.patchInteger(
        draft.memoryTarget,
        unsigned(draft.chooseCodeOffset(), instance.operandBytes),
        instance.operandBytes,
      );
    }
  },
};

const farBranch: SpecialState = {
  // Which mode's stack a far call pushes on where the two differ is not told: the stack stays below 4 GiB.
  registers: (draft) => {
    if (draft.mode === 64) draft.setRegister(RSP, draft.state.gpr[RSP]! & 0x3fff_ffffn);
  },
  memory: (draft) => {
    const { random, instance, memoryTarget } = draft;
    let selector = random.pick(CODE_SELECTORS);
    // The call would push through RSP's upper bits, where Linux keeps the alias of a 16-bit stack (espfix64).
    // With any other segment base it is not told which mode's stack a call into 64-bit code pushes on.
    const based = draft.mode !== 64 && draft.state.ss !== SELECTOR.userData;
    if (based && (selector | 3) === SELECTOR.userCode64) selector = SELECTOR.code32;
    const offsetBytes = instance.operandBytes;
    const pointer = [...littleEndian(farOffset(draft, selector), offsetBytes), ...littleEndian(BigInt(selector), 2)];
    if (instance.memory) draft.patch(memoryTarget, Uint8Array.from(pointer));
    else draft.code.set(pointer, instance.immediateOffset);
  },
};

const farLoad = (selectors: readonly number[]): SpecialState => ({
  memory: (draft) => {
    const { random, instance, memoryTarget } = draft;
    if (instance.memory === undefined) return;
    draft.patchInteger(memoryTarget + BigInt(instance.operandBytes), BigInt(random.pick(selectors)), 2);
  },
});

const farReturn: SpecialState = {
  memory: (draft) => {
    const { random, instance } = draft;
    const selector = random.pick(CODE_SELECTORS);
    pushValues(draft, [farOffset(draft, selector), BigInt(selector)], instance.operandBytes);
    if (instance.immediateBytes > 0) draft.fillImmediate(BigInt(random.pick([0, 8, 16, 0x40, 0x100])));
  },
};

const interruptReturn: SpecialState = {
  memory: (draft) => {
    const { random, instance, state } = draft;
    const selector = random.pick(CODE_SELECTORS);
    const flags = BigInt(random.u32()) & 0x20_4fd5n;
    const values = [farOffset(draft, selector), BigInt(selector), flags];
    if (draft.mode === 64)
      values.push(state.gpr[RSP]! + BigInt(random.below(16)), BigInt(random.pick(STACK_SELECTORS)));
    pushValues(draft, values, instance.operandBytes);
    if (random.chance(0.95)) state.rflags &= ~FLAG.NT;
  },
};

const sregOperand = (selectors: readonly number[]): SpecialState => ({
  memory: (draft) => draft.setRm(BigInt(draft.random.pick(selectors)), 2),
});

const loadSegment: SpecialState = {
  memory: (draft) => {
    const stack = draft.instance.reg === 2;
    draft.setRm(BigInt(draft.random.pick(stack ? STACK_SELECTORS : DATA_SELECTORS)), 2);
  },
};

const popSegment: SpecialState = {
  memory: (draft) => {
    const stack = draft.instance.row.operands[0] === 'SS';
    pushValues(
      draft,
      [BigInt(draft.random.pick(stack ? STACK_SELECTORS : DATA_SELECTORS))],
      draft.instance.operandBytes,
    );
  },
};

const popData: SpecialState = {
  memory: (draft) => {
    const { random, instance } = draft;
    const count = instance.row.lift === 'popa' ? 8 : 1;
    pushValues(
      draft,
      Array.from({ length: count }, () => randomInteger(random)),
      instance.operandBytes,
    );
  },
};

const popFlags: SpecialState = {
  memory: (draft) => {
    const { random, instance } = draft;
    // AC would make the kernel's own alignment rules part of the case.
    pushValues(draft, [BigInt(random.u32()) & ~0x4_0000n], instance.operandBytes);
  },
};

const nearReturn: SpecialState = {
  memory: (draft) => {
    pushValues(draft, [draft.chooseCodeOffset()], draft.instance.operandBytes);
    if (draft.instance.immediateBytes > 0) draft.fillImmediate(BigInt(draft.random.below(0x200)));
  },
};

const frame: SpecialState = {
  memory: (draft) => {
    const { random, instance } = draft;
    const linear = draft.chooseTarget(instance.operandBytes);
    draft.setRegister(RBP, linear - draft.segmentBase(2));
    draft.patch(linear, randomOperandBytes(random, 'integer', 16));
    if (instance.row.lift !== 'enter') return;
    draft.fillImmediate(BigInt(random.chance(0.8) ? random.below(0x100) : random.below(0x10000)), 2);
    draft.fillImmediate(BigInt(random.chance(0.7) ? random.below(4) : random.below(256)), 1, 2);
  },
};

const accumulatorMask: SpecialState = {
  // Components beyond x87 and SSE differ between hosts; XSAVE and XRSTOR leave them out when the mask does.
  registers: (draft) => {
    draft.setRegister(RDX, 0n);
    draft.setRegister(RAX, BigInt(draft.random.pick([0, 1, 2, 3, 3, 3])));
  },
  memory: (draft) => {
    draft.setRegister(RDX, 0n);
    draft.setRegister(RAX, BigInt(draft.random.pick([0, 1, 2, 3, 3, 3])));
  },
};

const legacyImage = (draft: CaseDraft): Uint8Array => {
  const { random } = draft;
  const image = new Uint8Array(512);
  image.set(draft.state.fxsave);
  fillX87(random, image, 'extended');
  image.set(randomOperandBytes(random, 'integer', 256), FXSAVE.XMM);
  const view = new DataView(image.buffer);
  view.setUint32(FXSAVE.MXCSR, random.chance(0.9) ? random.u32() & 0xffff : random.u32(), true);
  return image;
};

const restoreLegacy: SpecialState = { memory: (draft) => draft.patch(draft.memoryTarget, legacyImage(draft)) };

const restoreExtended: SpecialState = {
  memory: (draft) => {
    const { random, memoryTarget } = draft;
    accumulatorMask.memory!(draft);
    draft.patch(memoryTarget, legacyImage(draft));
    const header = new Uint8Array(64);
    header[0] = random.below(4);
    if (random.chance(0.05)) header[7] = 0x40;
    if (random.chance(0.05)) header[random.between(8, 63)] = 1;
    draft.patch(memoryTarget + 512n, header);
  },
};

const environment: SpecialState = {
  memory: (draft) => {
    const { random, instance, memoryTarget } = draft;
    const narrow = instance.operandBytes === 2;
    const image = new Uint8Array(512);
    fillX87(random, image, 'extended');
    const view = new DataView(image.buffer);
    const stride = narrow ? 2 : 4;
    const words = [view.getUint16(FXSAVE.FCW, true), view.getUint16(FXSAVE.FSW, true), random.below(0x10000)];
    words.forEach((word, i) => {
      draft.patchInteger(memoryTarget + BigInt(i * stride), BigInt(word), 2);
    });
    if (instance.row.lift !== 'frstor') return;
    for (let i = 0; i < 8; i++) {
      draft.patch(memoryTarget + BigInt(7 * stride + i * 10), image.slice(FXSAVE.ST + i * 16, FXSAVE.ST + i * 16 + 10));
    }
  },
};

const bounds: SpecialState = {
  memory: (draft) => {
    const { random, instance, memoryTarget } = draft;
    const size = instance.operandBytes;
    const low = BigInt(random.between(-100, 100));
    draft.patchInteger(memoryTarget, unsigned(low, size), size);
    draft.patchInteger(memoryTarget + BigInt(size), unsigned(low + BigInt(random.between(-3, 100)), size), size);
    if (![instance.memory?.base, instance.memory?.index].includes(instance.reg)) {
      draft.setRegister(instance.reg, BigInt(random.between(-150, 150)));
    }
  },
};

const maskedStore: SpecialState = {
  memory: (draft) => setAddressRegister(draft, RDI, segmentPrefixOf(draft, 3), draft.chooseTarget(16, 1)),
};

const translate: SpecialState = {
  memory: (draft) => {
    const { state } = draft;
    const target = draft.chooseTarget(1);
    setAddressRegister(draft, RBX, segmentPrefixOf(draft, 3), target - (state.gpr[RAX]! & 0xffn));
  },
};

const explicitLengths: SpecialState = {
  memory: (draft) => {
    const { random, instance } = draft;
    for (const index of [RAX, RDX]) {
      if ([instance.memory?.base, instance.memory?.index].includes(index)) continue;
      if (random.chance(0.7)) draft.setRegister(index, BigInt(random.between(-20, 20)));
    }
  },
};

const controlWord = (sizeBytes: number, validMask: number): SpecialState => ({
  memory: (draft) => {
    const value = draft.random.u32();
    draft.patchInteger(
      draft.memoryTarget,
      BigInt((draft.random.chance(0.9) ? value & validMask : value) >>> 0),
      sizeBytes,
    );
  },
});

const interruptNumber: SpecialState = {
  registers: (draft) => {
    let vector = draft.random.below(256);
    // Linux gives user code these gates.
    while (vector === 3 || vector === 4 || vector === 0x80) vector = draft.random.below(256);
    draft.fillImmediate(BigInt(vector));
  },
};

const segmentBaseValue: SpecialState = {
  registers: (draft) => {
    if (draft.random.chance(0.7))
      draft.setRegister(draft.instance.rm, BigInt.asUintN(64, BigInt.asIntN(47, randomInteger(draft.random))));
  },
};

/** Whether a store reaches memory that an unmasked exception makes void is not told. */
const floatStore: SpecialState = {
  registers: (draft) => {
    const view = new DataView(draft.state.fxsave.buffer, draft.state.fxsave.byteOffset);
    const control = view.getUint16(FXSAVE.FCW, true);
    if ((control & 0x3f) === 0x3f) return;
    draft.safeTargets = true;
    if (draft.instance.addressBytes === 8) return;
    // Segments and short addresses may fault wherever the operand is.
    view.setUint16(FXSAVE.FCW, control | 0x3f, true);
    view.setUint16(FXSAVE.FSW, view.getUint16(FXSAVE.FSW, true) & ~0x8080, true);
  },
};

/** With OF the trap goes through a gate that Linux opens to user code. */
const overflowTrap: SpecialState = {
  registers: (draft) => {
    draft.state.rflags &= ~0x800n;
  },
};

const floatToStack: SpecialState = {
  memory: (draft) => {
    const { random, instance, memoryTarget } = draft;
    const code = instance.row.operands[0]!;
    if (random.chance(0.1)) draft.patch(memoryTarget, random.bytes(operandSize(code, instance.operandBytes)));
  },
};

export const SPECIAL_STATES: Readonly<Record<string, SpecialState>> = {
  div: divide(false),
  idiv: divide(true),
  rol: { registers: smallCount },
  ror: { registers: smallCount },
  rcl: { registers: smallCount },
  rcr: { registers: smallCount },
  shl: { registers: smallCount },
  shr: { registers: smallCount },
  sar: { registers: smallCount },
  shld: { registers: smallCount },
  shrd: { registers: smallCount },
  bt: bitOffset,
  bts: bitOffset,
  btr: bitOffset,
  btc: bitOffset,
  cmpxchg: compareExchange,
  cmpxchg8b: compareExchangePair,
  cmpxchg16b: compareExchangePair,
  movs: string,
  cmps: string,
  stos: string,
  lods: string,
  scas: string,
  ins: string,
  outs: string,
  jcc: relative,
  jmp: relative,
  call: relative,
  loop: countedBranch,
  loopz: countedBranch,
  loopnz: countedBranch,
  jrcxz: countedBranch,
  'jmp-indirect': indirectBranch,
  'call-indirect': indirectBranch,
  jmpf: farBranch,
  callf: farBranch,
  ret: nearReturn,
  retf: farReturn,
  iret: interruptReturn,
  lds: farLoad(DATA_SELECTORS),
  les: farLoad(DATA_SELECTORS),
  lfs: farLoad(DATA_SELECTORS),
  lgs: farLoad(DATA_SELECTORS),
  lss: farLoad(STACK_SELECTORS),
  'mov-to-sreg': loadSegment,
  'pop-sreg': popSegment,
  lar: sregOperand(DATA_SELECTORS),
  lsl: sregOperand(DATA_SELECTORS),
  verr: sregOperand(DATA_SELECTORS),
  verw: sregOperand(DATA_SELECTORS),
  pop: popData,
  popa: popData,
  popf: popFlags,
  enter: frame,
  leave: frame,
  xsave: accumulatorMask,
  xsaveopt: accumulatorMask,
  fxrstor: restoreLegacy,
  xrstor: restoreExtended,
  fldenv: environment,
  frstor: environment,
  bound: bounds,
  maskmovq: maskedStore,
  maskmovdqu: maskedStore,
  xlat: translate,
  pcmpestri: explicitLengths,
  pcmpestrm: explicitLengths,
  ldmxcsr: controlWord(4, 0xffff),
  int: interruptNumber,
  wrfsbase: segmentBaseValue,
  wrgsbase: segmentBaseValue,
  fld: floatToStack,
  fst: floatStore,
  fstp: floatStore,
  fist: floatStore,
  fistp: floatStore,
  fisttp: floatStore,
  fbstp: floatStore,
  into: overflowTrap,
};
