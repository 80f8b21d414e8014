// Makes fuzz cases: a random instance of a form, a random state, and registers solved so that memory operands mostly
// reach the data pages, sometimes their edges. A case depends on seed, form and number alone.

import type { OperandCode } from '../../src/isa/row.ts';
import { FXSAVE, type TestCase } from '../oracle/fuzz-case.ts';
import { CODE_BASE, DATA_BASE, findSegment, SELECTOR } from '../oracle/layout.ts';
import { assemble, type Instance, type MemoryForm, NO_REGISTER, VARIED } from './assembler.ts';
import { CaseDraft, FLAG, fillX87, littleEndian, operandSize, RBP, RSP } from './case-draft.ts';
import type { Form } from './form.ts';
import { RandomSource } from './random-source.ts';
import { SPECIAL_STATES } from './special-states.ts';
import { type Flavour, randomInteger, randomOperandBytes } from './values.ts';

export interface GeneratedCase {
  readonly form: Form;
  readonly index: number;
  readonly instance: Instance;
  readonly testCase: TestCase;
  /** Linear address of the ModR/M or moffs operand; 0 without one. */
  readonly memoryTarget: bigint;
}

const FLAVOURS_BY_SIZE: Readonly<Record<string, readonly Flavour[]>> = {
  ps: ['single'],
  ss: ['single'],
  pd: ['double'],
  sd: ['double'],
  sr: ['single'],
  dr: ['double'],
  er: ['extended'],
  bcd: ['decimal', 'integer'],
  dq: ['integer', 'bytes', 'single', 'double'],
};

function operandFlavours(code: OperandCode): readonly Flavour[] {
  return FLAVOURS_BY_SIZE[code.split('/').at(-1)!.slice(1)] ?? ['integer', 'integer', 'integer', 'bytes'];
}

/** Conversions read what their operand codes do not say. */
function sourceFlavours(form: Form, code: OperandCode): readonly Flavour[] {
  const { mnemonic } = form.row;
  if (/^cvtt?ps2/.test(mnemonic)) return ['single'];
  if (/^(pcmp[ei]str|pshufb)/.test(mnemonic)) return ['bytes', 'integer'];
  return operandFlavours(code);
}

function inverse(odd: bigint): bigint {
  let x = odd;
  for (let i = 0; i < 6; i++) x = BigInt.asUintN(64, x * (2n - odd * x));
  return x;
}

/** Finds base, index and displacement so that the operand's address is `target`; may move the target by a byte. */
function solveAddress(draft: CaseDraft, memory: MemoryForm, target: bigint): bigint {
  const { random, state, code } = draft;
  const { base, index, scaleShift, displacementBytes, displacementOffset, addressBytes } = memory;
  const stackBased = base === RSP || base === RBP;
  const segment = memory.segment >= 0 ? memory.segment : stackBased ? 2 : 3;
  const addressBits = addressBytes * 8;
  const writeDisplacement = (value: bigint) => code.set(littleEndian(value, displacementBytes), displacementOffset);
  const fitsDisplacement = (value: bigint) => BigInt.asIntN(32, value) === BigInt.asIntN(64, value);
  let offset = BigInt.asUintN(addressBits, target - draft.segmentBase(segment));

  if (memory.ripRelative) {
    const next = state.rip + BigInt(code.length);
    const displacement = BigInt.asIntN(64, offset - next);
    writeDisplacement(displacement);
    if (addressBytes === 8 && !fitsDisplacement(displacement)) return next + BigInt.asIntN(32, displacement);
    return target;
  }
  if (base === NO_REGISTER && index === NO_REGISTER) {
    writeDisplacement(offset);
    if (draft.mode === 64 && displacementBytes === 4 && addressBytes === 8 && !fitsDisplacement(offset)) {
      return draft.segmentBase(segment) + BigInt.asIntN(32, offset);
    }
    return target;
  }
  if (base === NO_REGISTER) {
    const scaled = BigInt(random.below(0x1000));
    draft.setRegister(index, scaled);
    const displacement = BigInt.asIntN(64, offset - (scaled << BigInt(scaleShift)));
    writeDisplacement(displacement);
    return fitsDisplacement(displacement) ? target : draft.segmentBase(segment) + BigInt.asIntN(32, displacement);
  }
  let displacement = 0n;
  if (displacementBytes > 0) {
    const bits = displacementBytes * 8;
    displacement = BigInt.asIntN(bits, random.chance(0.5) ? BigInt(random.between(-64, 64)) : randomInteger(random));
  }
  const garbage = (value: bigint) =>
    draft.mode === 64 && addressBytes === 4 && random.chance(0.5)
      ? (value & 0xffff_ffffn) | (BigInt(random.u32()) << 32n)
      : addressBytes === 2 && random.chance(0.5)
        ? (value & 0xffffn) | (BigInt(random.u32() & 0xffff) << 16n)
        : BigInt.asUintN(addressBits, value);
  if (base === index) {
    if (scaleShift === 0 && ((offset - displacement) & 1n) === 1n) {
      target -= 1n;
      offset -= 1n;
    }
    const sum = BigInt.asUintN(addressBits, offset - displacement);
    draft.setRegister(
      base,
      scaleShift === 0 ? sum >> 1n : BigInt.asUintN(addressBits, sum * inverse(1n + (1n << BigInt(scaleShift)))),
    );
    if (displacementBytes > 0) writeDisplacement(displacement);
    return target;
  }
  let scaled = 0n;
  if (index !== NO_REGISTER) {
    const value = random.chance(0.5) ? BigInt(random.between(-100, 100)) : randomInteger(random);
    draft.setRegister(index, garbage(value));
    scaled = state.gpr[index]! << BigInt(scaleShift);
  }
  draft.setRegister(base, garbage(offset - displacement - scaled));
  if (displacementBytes > 0) writeDisplacement(displacement);
  return target;
}

/** Linear address of the operand with the registers as they are now: what special states changed counts. */
function effectiveAddress(draft: CaseDraft, memory: MemoryForm): bigint {
  const { state, code } = draft;
  const { base, index, scaleShift, displacementBytes, displacementOffset, addressBytes } = memory;
  let offset = memory.ripRelative ? state.rip + BigInt(code.length) : 0n;
  for (let i = 0; i < displacementBytes; i++) offset += BigInt(code[displacementOffset + i]!) << BigInt(i * 8);
  const negative = displacementBytes > 0 && (code[displacementOffset + displacementBytes - 1]! & 0x80) !== 0;
  if (negative) offset -= 1n << BigInt(displacementBytes * 8);
  if (base !== NO_REGISTER) offset += state.gpr[base]!;
  if (index !== NO_REGISTER) offset += state.gpr[index]! << BigInt(scaleShift);
  const segment = memory.segment >= 0 ? memory.segment : base === RSP || base === RBP ? 2 : 3;
  return BigInt.asUintN(draft.wordBytes * 8, BigInt.asUintN(addressBytes * 8, offset) + draft.segmentBase(segment));
}

function chooseSegments(draft: CaseDraft): void {
  const { random, state, mode } = draft;
  if (mode === 64) {
    // Only bases from which the data has canonical offsets: AMD processors check the offset too.
    const base = () =>
      random.chance(0.5)
        ? BigInt(DATA_BASE + random.below(0x1000))
        : random.pick([0n, 0x1000n, 0xffff_ffff_f000_0000n]);
    state.fsBase = base();
    state.gsBase = base();
    return;
  }
  const { data16, data32, expandDown, readOnly, userData } = SELECTOR;
  const data =
    mode === 32
      ? () => (random.chance(0.8) ? userData : random.pick([data32, expandDown, readOnly, data16]))
      : () => (random.chance(0.7) ? data16 : random.pick([data32, expandDown, readOnly, userData]));
  state.ds = random.chance(0.01) ? 0 : data();
  state.es = data();
  state.fs = random.chance(0.1) ? 0 : data();
  state.gs = random.chance(0.1) ? 0 : data();
  const stack = data();
  state.ss = stack === readOnly ? userData : stack;
  if (mode === 32 && random.chance(0.3)) state.cs = SELECTOR.code32;
  state.fsBase = findSegment(state.fs).base;
  state.gsBase = findSegment(state.gs).base;
}

function placeCode(draft: CaseDraft): Uint8Array {
  const { random, state, code } = draft;
  const base = Number(findSegment(state.cs).base);
  const end = CODE_BASE + 0x2000;
  const dice = random.below(100);
  let start = CODE_BASE + 0x800 + random.below(0x100);
  if (dice < 4) start = CODE_BASE + 0x1000 - random.below(code.length + 1);
  else if (dice < 6) start = end - code.length;
  // Where #UD is certain, fetching the rest of the instruction is the processor's choice.
  else if (dice < 8 && !draft.instance.certainlyInvalid) start = end - random.between(1, code.length);
  state.rip = BigInt(start - base);
  return code.subarray(0, Math.min(code.length, end - start));
}

function fillXmm(random: RandomSource, fxsave: Uint8Array, flavours: readonly Flavour[]): void {
  const view = new DataView(fxsave.buffer, fxsave.byteOffset);
  const flavour = random.pick(flavours);
  for (let i = 0; i < 16; i++) {
    const bytes =
      i > 0 && random.chance(0.1)
        ? fxsave.slice(FXSAVE.XMM + (i - 1) * 16, FXSAVE.XMM + i * 16)
        : randomOperandBytes(random, random.chance(0.9) ? flavour : 'integer', 16);
    fxsave.set(bytes, FXSAVE.XMM + i * 16);
  }
  const masks = random.chance(0.85) ? 0x3f : random.below(0x40);
  let mxcsr = (masks << 7) | (random.chance(0.5) ? random.below(4) << 13 : 0);
  if (random.chance(0.15)) mxcsr |= random.pick([0x40, 0x8000, 0x8040]);
  if (random.chance(0.4)) mxcsr |= random.below(0x40);
  view.setUint32(FXSAVE.MXCSR, mxcsr, true);
}

/** Where the engine follows Intel's processors, and AMD's differ: cases that an AMD host cannot judge. */
function differsOnAmd({ row, mode, operandBytes, memory, certainlyInvalid }: Instance): boolean {
  // No 64-bit offsets in far pointers.
  if (mode === 64 && operandBytes === 8 && row.operands.includes('Mp')) return true;
  // With a 16-bit operand size the source keeps 32 bits.
  if (row.lift === 'movsxd' && operandBytes === 2) return true;
  // PREFETCHW between registers raises #UD.
  if (row.mnemonic === 'prefetchw' && memory === undefined) return true;
  // LOCK MOV CR0 is MOV CR8, and VERR and VERW take a LOCK prefix.
  return certainlyInvalid && /^(mov-(from|to)-cr|ver[rw])$/.test(row.lift);
}

const VECTOR_METHODS = 'VWU';
const MMX_METHODS = 'PQN';

export function generateCase(form: Form, seed: string, index: number, vendor: string): GeneratedCase {
  const random = new RandomSource(`${seed}/${form.key}/${index}`);
  const { row, mode, encoding } = form;
  let instance: Instance;
  do instance = assemble(row, encoding, mode, random, VARIED);
  while (vendor === 'AuthenticAMD' && differsOnAmd(instance));
  const draft = new CaseDraft(random, instance);
  const { state } = draft;

  const registers = mode === 64 ? 16 : 8;
  for (let i = 0; i < registers; i++) draft.setRegister(i, randomInteger(random));
  state.rflags = FLAG.FIXED | (BigInt(random.u32()) & FLAG.STATUS);
  if (random.chance(0.3)) state.rflags |= FLAG.DF;
  if (random.chance(0.05)) state.rflags |= random.pick([FLAG.ID, FLAG.NT]);
  chooseSegments(draft);
  const placed = placeCode(draft);
  const stackBase = draft.segmentBase(2);
  const stackOffset = draft.chooseTarget(8) - stackBase;
  draft.setRegister(RSP, stackOffset);

  // SSE and x87 state: rich where the row uses it.
  const usesXmm = row.operands.some((code) => VECTOR_METHODS.includes(code[0]!)) || row.feature.startsWith('sse');
  const usesMmx = row.operands.some((code) => MMX_METHODS.includes(code[0]!)) || row.feature === 'mmx';
  const wholeState = row.operands.some((code) => code === 'Mstx' || code === 'Mxs');
  if (usesXmm || wholeState || random.chance(0.03)) {
    const flavours = row.operands
      .filter((code) => VECTOR_METHODS.includes(code[0]!))
      .flatMap((code) => sourceFlavours(form, code));
    fillXmm(random, state.fxsave, flavours.length > 0 ? flavours : ['integer']);
  }
  if (row.feature === 'x87' || row.lift === 'fwait' || usesMmx || wholeState || random.chance(0.03)) {
    fillX87(random, state.fxsave, usesMmx && random.chance(0.8) ? 'integer' : 'extended');
  }

  // Immediates are random; what an instruction wants of them, it says in SPECIAL_STATES.
  if (instance.immediateBytes > 0) {
    if (random.chance(0.6)) draft.fillImmediate(randomInteger(random));
    else draft.code.set(random.bytes(instance.immediateBytes), instance.immediateOffset);
  }
  // Register values that the memory operand may then overwrite.
  const special = SPECIAL_STATES[row.lift];
  special?.registers?.(draft);
  if (instance.memory) {
    const memoryCode = row.operands.find((code) => /^[EQWM]|\/M|^O/.test(code)) ?? 'Mb';
    const sizeBytes = operandSize(memoryCode, instance.operandBytes);
    const alignment = memoryCode === 'Mxs' ? 64 : Math.min(sizeBytes, 16);
    draft.memoryTarget = solveAddress(draft, instance.memory, draft.chooseTarget(sizeBytes, alignment));
    const flavour = random.pick(sourceFlavours(form, memoryCode));
    draft.patch(draft.memoryTarget, randomOperandBytes(random, flavour, Math.min(sizeBytes, 64)));
  }
  special?.memory?.(draft);
  return {
    form,
    index,
    instance,
    testCase: { mode, code: placed, state, patches: draft.patches },
    memoryTarget: instance.memory ? effectiveAddress(draft, instance.memory) : 0n,
  };
}
