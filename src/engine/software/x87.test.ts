// x87.ts against the host's processor: every x87 instruction on random states, the whole state compared.
// BULKHEAD_SOFTFLOAT_CASES sets the cases per instruction, BULKHEAD_SOFTFLOAT_SEED the seed.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  FXSAVE,
  type OracleRequest,
  type OracleResponse,
  ProcessorOracle,
  Random,
} from '../../../tests/processor-oracle.ts';
import { randomF32, randomF64, randomF80, randomF80Near } from '../../../tests/softfloat-operands.ts';
import {
  type EnvironmentFormat,
  environmentSizeBytes,
  stateSizeBytes,
  X87,
  X87_LAYOUT,
  X87_OPERAND,
  X87_OPERATION,
  X87_OUTCOME,
} from './x87.ts';

const seed = Number(process.env.BULKHEAD_SOFTFLOAT_SEED ?? 1);
const cases = Number(process.env.BULKHEAD_SOFTFLOAT_CASES ?? 300);
console.log(`seed ${seed}, ${cases} cases per instruction`);

const oracle = ProcessorOracle.open();
const skip = typeof oracle === 'string' ? oracle : false;
after(() => typeof oracle !== 'string' && oracle.close());

interface Machine {
  x87: X87;
  memory: DataView;
  eflags: number;
  rax: bigint;
}

interface Row {
  /** Rows of one name make one test. */
  name: string;
  bytes: number[];
  /** Random contents for the memory operand. */
  operand?: (random: Random) => bigint;
  /** C1 and the last place of results may differ from the processor's. */
  inexact?: boolean;
  /** Writes memory and eflags as the instruction would; returns a value of X87_OUTCOME. */
  run: (machine: Machine) => number;
}

const O = X87_OPERATION;
const M = X87_OPERAND;
const rows: Row[] = [];

const loadLow = (machine: Machine): bigint => machine.memory.getBigUint64(0, true);
const loadHigh = (machine: Machine): number => machine.memory.getUint16(8, true);

function store(operation: number, operand: number): Row['run'] {
  return (machine) => {
    const { x87, memory } = machine;
    const outcome = x87.prepareStore(operation, operand);
    if (outcome === X87_OUTCOME.PENDING) return outcome;
    for (let i = 0; i < x87.storeSizeBytes; i++) {
      const byte = i < 8 ? Number((x87.storeLow >> BigInt(8 * i)) & 0xffn) : (x87.storeHigh >> (8 * (i - 8))) & 0xff;
      memory.setUint8(i, byte);
    }
    x87.commitStore();
    return X87_OUTCOME.DONE;
  };
}

const execute =
  (operation: number, operand: number): Row['run'] =>
  (machine) =>
    machine.x87.execute(operation, operand, 0n, 0);

const load =
  (operation: number, operand: number): Row['run'] =>
  (machine) =>
    machine.x87.execute(operation, operand, loadLow(machine), loadHigh(machine));

// ModR/M of [rdi] with a reg field.
const memoryForm = (extension: number): number => 0x07 + 8 * extension;

const NAMES = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'] as const;
const MEMORY_ARITHMETIC = [
  [0xd8, M.F32, (random: Random) => BigInt(randomF32(random))],
  [0xdc, M.F64, randomF64],
  [0xda, M.I32, undefined],
  [0xde, M.I16, undefined],
] as const;
NAMES.forEach((name, extension) => {
  for (const [opcode, operand, values] of MEMORY_ARITHMETIC) {
    rows.push({
      name: `${name} ${opcode.toString(16)} memory`,
      bytes: [opcode, memoryForm(extension)],
      operand: values,
      run: load(O[name], operand),
    });
  }
});

function registerRow(name: string, opcode: number, modrm: number, run: Row['run'], inexact = false): void {
  rows.push({ name: `${name} ${opcode.toString(16)}`, bytes: [opcode, modrm], run, inexact });
}

for (let i = 0; i < 8; i++) {
  NAMES.forEach((name, extension) => {
    registerRow(name, 0xd8, 0xc0 + 8 * extension + i, execute(O[name], i));
  });
  const toRegister = [
    ['fadd', 'faddp', 0],
    ['fmul', 'fmulp', 1],
    ['fsubr', 'fsubrp', 4],
    ['fsub', 'fsubp', 5],
    ['fdivr', 'fdivrp', 6],
    ['fdiv', 'fdivp', 7],
  ] as const;
  for (const [name, popping, extension] of toRegister) {
    registerRow(name, 0xdc, 0xc0 + 8 * extension + i, execute(O[name], M.TO_REGISTER + i));
    registerRow(popping, 0xde, 0xc0 + 8 * extension + i, execute(O[popping], M.TO_REGISTER + i));
  }
  const plain = [
    ['fld', 0xd9, 0xc0],
    ['fxch', 0xd9, 0xc8],
    ['fstpnce', 0xd9, 0xd8],
    ['fucomi', 0xdb, 0xe8],
    ['fcomi', 0xdb, 0xf0],
    ['fcom', 0xdc, 0xd0],
    ['fcomp', 0xdc, 0xd8],
    ['ffree', 0xdd, 0xc0],
    ['fxch', 0xdd, 0xc8],
    ['fst', 0xdd, 0xd0],
    ['fstp', 0xdd, 0xd8],
    ['fucom', 0xdd, 0xe0],
    ['fucomp', 0xdd, 0xe8],
    ['fcomp', 0xde, 0xd0],
    ['ffreep', 0xdf, 0xc0],
    ['fxch', 0xdf, 0xc8],
    ['fstp', 0xdf, 0xd0],
    ['fstp', 0xdf, 0xd8],
    ['fucomip', 0xdf, 0xe8],
    ['fcomip', 0xdf, 0xf0],
  ] as const;
  for (const [name, opcode, first] of plain) {
    const comparesToEflags = name.endsWith('comi') || name.endsWith('comip');
    registerRow(name, opcode, first + i, (machine) => {
      const outcome = machine.x87.execute(O[name], i, 0n, 0);
      if (comparesToEflags && outcome === X87_OUTCOME.DONE) {
        machine.eflags = (machine.eflags & ~0x8d5) | machine.x87.eflags;
      }
      return outcome;
    });
  }
  const conditions = [0x01, 0x40, 0x41, 0x04];
  conditions.forEach((mask, number) => {
    for (const negated of [false, true]) {
      registerRow('fcmov', negated ? 0xdb : 0xda, 0xc0 + 8 * number + i, ({ x87, eflags }) =>
        x87.execute(O.fcmov, i, ((eflags & mask) !== 0) !== negated ? 1n : 0n, 0),
      );
    }
  });
}

const SINGLE = {
  fnop: [0xd9, 0xd0],
  fchs: [0xd9, 0xe0],
  fabs: [0xd9, 0xe1],
  ftst: [0xd9, 0xe4],
  fxam: [0xd9, 0xe5],
  fld1: [0xd9, 0xe8],
  fldl2t: [0xd9, 0xe9],
  fldl2e: [0xd9, 0xea],
  fldpi: [0xd9, 0xeb],
  fldlg2: [0xd9, 0xec],
  fldln2: [0xd9, 0xed],
  fldz: [0xd9, 0xee],
  fdecstp: [0xd9, 0xf6],
  fincstp: [0xd9, 0xf7],
  fprem1: [0xd9, 0xf5],
  fprem: [0xd9, 0xf8],
  fsqrt: [0xd9, 0xfa],
  frndint: [0xd9, 0xfc],
  fscale: [0xd9, 0xfd],
  fxtract: [0xd9, 0xf4],
  fucompp: [0xda, 0xe9],
  fcompp: [0xde, 0xd9],
  fneni: [0xdb, 0xe0],
  fnclex: [0xdb, 0xe2],
  fninit: [0xdb, 0xe3],
} as const;
for (const [name, [opcode, modrm]] of Object.entries(SINGLE)) {
  registerRow(name, opcode, modrm, execute(O[name as keyof typeof SINGLE], 0));
}
rows.push({ name: 'fwait', bytes: [0x9b], run: execute(O.fwait, 0) });
const TRANSCENDENTAL = {
  f2xm1: 0xf0,
  fyl2x: 0xf1,
  fptan: 0xf2,
  fpatan: 0xf3,
  fyl2xp1: 0xf9,
  fsincos: 0xfb,
  fsin: 0xfe,
  fcos: 0xff,
} as const;
for (const [name, modrm] of Object.entries(TRANSCENDENTAL)) {
  registerRow(name, 0xd9, modrm, execute(O[name as keyof typeof TRANSCENDENTAL], 0), true);
}

const LOADS = [
  ['fld', 0xd9, 0, M.F32],
  ['fld', 0xdd, 0, M.F64],
  ['fld', 0xdb, 5, M.F80],
  ['fild', 0xdf, 0, M.I16],
  ['fild', 0xdb, 0, M.I32],
  ['fild', 0xdf, 5, M.I64],
  ['fbld', 0xdf, 4, M.BCD],
  ['fldcw', 0xd9, 5, M.I16],
] as const;
const OPERANDS: Record<number, (random: Random) => bigint> = {
  [M.F32]: (random) => BigInt(randomF32(random)),
  [M.F64]: randomF64,
  [M.F80]: (random) => {
    const { signExponent, significand } = randomF80(random);
    return (BigInt(signExponent) << 64n) | significand;
  },
  [M.BCD]: (random) => {
    let digits = BigInt(random.below(2)) << 79n;
    for (let i = 0; i < 18; i++) digits |= BigInt(random.below(10)) << BigInt(4 * i);
    return digits;
  },
};
for (const [name, opcode, extension, operand] of LOADS) {
  rows.push({
    name: `${name} ${opcode.toString(16)} /${extension}`,
    bytes: [opcode, memoryForm(extension)],
    operand: OPERANDS[operand],
    run: load(O[name], operand),
  });
}
const STORES = [
  ['fst', 0xd9, 2, M.F32],
  ['fstp', 0xd9, 3, M.F32],
  ['fst', 0xdd, 2, M.F64],
  ['fstp', 0xdd, 3, M.F64],
  ['fstp', 0xdb, 7, M.F80],
  ['fist', 0xdf, 2, M.I16],
  ['fistp', 0xdf, 3, M.I16],
  ['fist', 0xdb, 2, M.I32],
  ['fistp', 0xdb, 3, M.I32],
  ['fistp', 0xdf, 7, M.I64],
  ['fisttp', 0xdf, 1, M.I16],
  ['fisttp', 0xdb, 1, M.I32],
  ['fisttp', 0xdd, 1, M.I64],
  ['fbstp', 0xdf, 6, M.BCD],
  ['fnstcw', 0xd9, 7, M.I16],
  ['fnstsw', 0xdd, 7, M.I16],
] as const;
for (const [name, opcode, extension, operand] of STORES) {
  rows.push({
    name: `${name} ${opcode.toString(16)} /${extension}`,
    bytes: [opcode, memoryForm(extension)],
    run: store(O[name], operand),
  });
}
registerRow('fnstsw ax', 0xdf, 0xe0, (machine) => {
  machine.rax = (machine.rax & ~0xffffn) | BigInt(machine.x87.fullStatusWord);
  return X87_OUTCOME.DONE;
});

const putBytes = (memory: DataView, bytes: Uint8Array): void => {
  bytes.forEach((byte, index) => {
    memory.setUint8(index, byte);
  });
};
const takeBytes = (memory: DataView, length: number): Uint8Array => new Uint8Array(memory.buffer.slice(0, length));
for (const operandBytes of [2, 4] as const) {
  const format: EnvironmentFormat = { operandBytes, realMode: false };
  const prefix = operandBytes === 2 ? [0x66] : [];
  rows.push(
    {
      name: `fnstenv ${operandBytes}`,
      bytes: [...prefix, 0xd9, memoryForm(6)],
      run: ({ x87, memory }) => {
        putBytes(memory, x87.environmentImage(format));
        x87.commitEnvironment();
        return X87_OUTCOME.DONE;
      },
    },
    {
      name: `fnsave ${operandBytes}`,
      bytes: [...prefix, 0xdd, memoryForm(6)],
      run: ({ x87, memory }) => {
        putBytes(memory, x87.stateImage(format));
        x87.commitState();
        return X87_OUTCOME.DONE;
      },
    },
    {
      name: `fldenv ${operandBytes}`,
      bytes: [...prefix, 0xd9, memoryForm(4)],
      run: ({ x87, memory }) => {
        if (x87.checkPending()) return X87_OUTCOME.PENDING;
        x87.loadEnvironment(takeBytes(memory, environmentSizeBytes(format)), format);
        return X87_OUTCOME.DONE;
      },
    },
    {
      name: `frstor ${operandBytes}`,
      bytes: [...prefix, 0xdd, memoryForm(4)],
      run: ({ x87, memory }) => {
        if (x87.checkPending()) return X87_OUTCOME.PENDING;
        x87.loadState(takeBytes(memory, stateSizeBytes(format)), format);
        return X87_OUTCOME.DONE;
      },
    },
  );
}
rows.push(
  {
    name: 'movq mm3, [rdi]',
    bytes: [0x0f, 0x6f, 0x1f],
    run: (machine) => {
      if (machine.x87.checkPending()) return X87_OUTCOME.PENDING;
      machine.x87.enterMmx(3);
      x87View.setBigUint64(X87_BASE + 3 * X87_LAYOUT.REGISTER_STRIDE, loadLow(machine), true);
      return X87_OUTCOME.DONE;
    },
  },
  {
    name: 'emms',
    bytes: [0x0f, 0x77],
    run: ({ x87 }) => {
      if (x87.checkPending()) return X87_OUTCOME.PENDING;
      x87.emms();
      return X87_OUTCOME.DONE;
    },
  },
);

const X87_BASE = 256;
const x87View = new DataView(new ArrayBuffer(X87_BASE + X87_LAYOUT.SIZE_BYTES));

function randomRequest(random: Random, row: Row): OracleRequest {
  const view = new DataView(new ArrayBuffer(512));
  const masks = random.below(3) !== 0 ? 0x3f : random.below(0x40);
  const controlWord = (random.below(4) << 10) | (random.choose([0, 1, 2, 3]) << 8) | 0x40 | masks;
  // Exceptions that are masked may be there already, seldom one that is not: that one is pending.
  let statusWord = (random.below(0x80) & (masks | 0x40)) | (random.below(8) << 11);
  statusWord |= Number(random.bits64() & 0x4700n);
  if (random.below(16) === 0) statusWord |= random.below(0x40);
  if ((statusWord & ~masks & 0x3f) !== 0) statusWord |= 0x8080;
  view.setUint16(FXSAVE.FCW, controlWord, true);
  view.setUint16(FXSAVE.FSW, statusWord, true);
  const top = (statusWord >> 11) & 7;
  // Mostly a stack of some depth, as programs have; else any registers.
  const depth = random.below(9);
  const stack = (((1 << depth) - 1) << top) | (((1 << depth) - 1) >> (8 - top));
  view.setUint8(FXSAVE.FTW, random.below(4) === 0 ? random.below(256) : stack & 0xff);
  view.setUint32(FXSAVE.MXCSR, 0x1f80, true);
  let value = randomF80(random);
  for (let i = 0; i < 8; i++) {
    view.setBigUint64(FXSAVE.ST + 16 * i, value.significand, true);
    view.setUint16(FXSAVE.ST + 16 * i + 8, value.signExponent, true);
    value = row.inexact && random.below(2) === 0 ? moderate(random) : randomF80Near(random, value);
  }
  const memory = new Uint8Array(128);
  const memoryView = new DataView(memory.buffer);
  for (let i = 0; i < 16; i++) memoryView.setBigUint64(8 * i, random.bits64(), true);
  if (row.operand !== undefined) {
    const operand = row.operand(random);
    memoryView.setBigUint64(0, BigInt.asUintN(64, operand), true);
    memoryView.setUint16(8, Number(operand >> 64n), true);
  }
  return {
    instruction: Uint8Array.from(row.bytes),
    rax: random.bits64(),
    rflags: random.bits64() & 0x8d5n,
    fxsave: new Uint8Array(view.buffer),
    memory,
  };
}

/** A value for which transcendental functions have something to do. */
const moderate = (random: Random): { signExponent: number; significand: bigint } => ({
  signExponent: random.below(2) * 0x8000 + 16383 - 10 + random.below(14),
  significand: random.bits64() | (1n << 63n),
});

/** Magnitudes as one number whose steps are units in the last place. */
const ordinal = (signExponent: number, significand: bigint): bigint =>
  (BigInt(signExponent & 0x7fff) << 63n) + BigInt.asUintN(63, significand);

const hex = (value: number | bigint): string => value.toString(16);

/** The parts of a state that are compared, by name. Addresses of the last instruction are not: processors differ. */
function describe(image: DataView, memory: DataView, environment: boolean): Record<string, string> {
  const state: Record<string, string> = {
    fcw: hex(image.getUint16(FXSAVE.FCW, true)),
    fsw: hex(image.getUint16(FXSAVE.FSW, true)),
    ftw: hex(image.getUint8(FXSAVE.FTW)),
  };
  for (let i = 0; i < 8; i++) {
    const at = FXSAVE.ST + 16 * i;
    state[`st${i}`] = `${hex(image.getUint16(at + 8, true))}:${hex(image.getBigUint64(at, true))}`;
  }
  if (!environment) state.memory = Buffer.from(memory.buffer, memory.byteOffset, 128).toString('hex');
  return state;
}

/** Fields of an environment image that do not depend on addresses, and the registers after it. */
function describeEnvironment(memory: DataView, operandBytes: number): string {
  const bytes = Buffer.from(memory.buffer, memory.byteOffset, 128);
  const header = operandBytes * 3;
  return `${bytes.subarray(0, header).toString('hex')} ${bytes.subarray(operandBytes * 7).toString('hex')}`;
}

function compare(row: Row, request: OracleRequest, response: OracleResponse): void {
  const x87 = new X87(x87View, X87_BASE);
  const input = new DataView(request.fxsave.buffer);
  const memory = new DataView(request.memory.slice().buffer);
  const machine: Machine = { x87, memory, eflags: Number(request.rflags), rax: request.rax };
  x87.loadLegacyRegion(input, 0, true);
  const outcome = row.run(machine);
  const output = new DataView(new ArrayBuffer(512));
  x87.saveLegacyRegion(output, 0, true);

  const environment = /^fn(stenv|save) (\d)/.exec(row.name);
  const actual = describe(output, memory, environment !== null);
  const wanted = describe(response.fxsave, response.memory, environment !== null);
  actual.pending = String(outcome === X87_OUTCOME.PENDING);
  wanted.pending = String(response.trap === 8);
  actual.eflags = hex(machine.eflags & 0x8d5);
  wanted.eflags = hex(response.rflags & 0x8d5n);
  actual.rax = hex(machine.rax);
  wanted.rax = hex(response.rax);
  if (environment !== null) {
    actual.environment = describeEnvironment(memory, Number(environment[2]));
    wanted.environment = describeEnvironment(response.memory, Number(environment[2]));
  }
  if (row.inexact && (output.getUint16(FXSAVE.FSW, true) & 0x20) !== 0) {
    actual.fsw = hex(output.getUint16(FXSAVE.FSW, true) & ~0x200);
    wanted.fsw = hex(response.fxsave.getUint16(FXSAVE.FSW, true) & ~0x200);
    for (let i = 0; i < 2; i++) {
      const at = FXSAVE.ST + 16 * i;
      const ours = output.getUint16(at + 8, true);
      const theirs = response.fxsave.getUint16(at + 8, true);
      const distance =
        ordinal(ours, output.getBigUint64(at, true)) - ordinal(theirs, response.fxsave.getBigUint64(at, true));
      if (ours >> 15 === theirs >> 15 && distance >= -1n && distance <= 1n) actual[`st${i}`] = wanted[`st${i}`]!;
    }
  }
  const differences = Object.keys(wanted).filter((key) => actual[key] !== wanted[key]);
  if (differences.length === 0) return;
  const before = JSON.stringify(describe(input, new DataView(request.memory.buffer), false));
  const bytes = Buffer.from(request.instruction).toString('hex');
  const lines = differences.map((key) => `${key} is ${actual[key]}, the processor's ${wanted[key]}`);
  assert.fail(`${bytes}: ${lines.join('; ')}; before ${before} eflags ${hex(request.rflags)}`);
}

for (const [name, variants] of Map.groupBy(rows, (row) => row.name)) {
  test(`${name} leaves the processor's state`, { skip }, () => {
    if (typeof oracle === 'string') return;
    const random = new Random(seed);
    for (let done = 0; done < cases; done += 10000) {
      const chosen: Row[] = [];
      for (let i = done; i < Math.min(cases, done + 10000); i++) chosen.push(random.choose(variants));
      const requests = chosen.map((row) => randomRequest(random, row));
      const responses = oracle.run(requests);
      requests.forEach((request, index) => {
        compare(chosen[index]!, request, responses[index]!);
      });
    }
  });
}

test('a store that is prepared but not committed has changed nothing', () => {
  const x87 = new X87(x87View, X87_BASE);
  x87.reset();
  x87.execute(O.fld, M.F64, 0x3ff5555555555555n, 0);
  const before = x87View.buffer.slice(0);
  assert.equal(x87.prepareStore(O.fstp, M.F32), X87_OUTCOME.DONE);
  assert.deepEqual(new Uint8Array(x87View.buffer), new Uint8Array(before));
  assert.equal(x87.storeLow, 0x3faaaaabn);
  assert.equal(x87.storeSizeBytes, 4);
  x87.commitStore();
  // TOP is back at 0, PE and C1 tell of the rounding.
  assert.equal(x87.fullStatusWord, 0x220);
  assert.equal(x87.fullTagWord, 0xffff);
});

test('an unmasked exception on a store leaves nothing to store and pends', () => {
  const x87 = new X87(x87View, X87_BASE);
  x87.reset();
  x87.execute(O.fldcw, M.I16, 0x37en, 0);
  assert.equal(x87.prepareStore(O.fistp, M.I32), X87_OUTCOME.NOTHING_TO_STORE);
  assert.equal(x87.storeSizeBytes, 0);
  assert.equal(x87.checkPending(), false);
  x87.commitStore();
  assert.equal(x87.checkPending(), true);
  assert.equal(x87.execute(O.fld1, 0, 0n, 0), X87_OUTCOME.PENDING);
  assert.equal(x87.execute(O.fnclex, 0, 0n, 0), X87_OUTCOME.DONE);
  assert.equal(x87.execute(O.fld1, 0, 0n, 0), X87_OUTCOME.DONE);
});

test('environment images have the layout of their mode and load back', () => {
  const x87 = new X87(x87View, X87_BASE);
  const images: [EnvironmentFormat, string][] = [
    [{ operandBytes: 4, realMode: false }, '7f03ffff0038ffffff3fffff78563412230011072143cdab2b00ffff'],
    [{ operandBytes: 4, realMode: true }, '7f03ffff0038ffffff3fffff7856ffff114723012143ffff00d0bc0a'],
    [{ operandBytes: 2, realMode: false }, '7f030038ff3f7856230021432b00'],
    [{ operandBytes: 2, realMode: true }, '7f030038ff3f78561147214300d0'],
  ];
  for (const [format, expected] of images) {
    x87.reset();
    x87.execute(O.fld1, 0, 0n, 0);
    // The real-mode forms hold linear addresses.
    const [code, data] = format.realMode ? [0, 0] : [0x23, 0x2b];
    x87.recordPointers(0x711, code, 0x12345678n, data, 0xabcd4321n);
    const image = x87.environmentImage(format);
    assert.equal(Buffer.from(image).toString('hex'), expected);
    x87.execute(O.fninit, 0, 0n, 0);
    x87.loadEnvironment(image, format);
    assert.equal(Buffer.from(x87.environmentImage(format)).toString('hex'), expected);
  }
});
