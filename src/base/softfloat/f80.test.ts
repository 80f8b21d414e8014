// f80.ts against the host's processor. BULKHEAD_SOFTFLOAT_CASES sets the cases per instruction,
// BULKHEAD_SOFTFLOAT_SEED the seed.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  FXSAVE,
  type OracleRequest,
  type OracleResponse,
  ProcessorOracle,
  Random,
} from '../../../tests/processor-oracle.ts';
import {
  type F80Bits,
  randomF32,
  randomF32Near,
  randomF64,
  randomF64Near,
  randomF80,
  randomF80Near,
} from '../../../tests/softfloat-operands.ts';
import { FloatContext } from './context.ts';
import * as f80 from './f80.ts';

const seed = Number(process.env.BULKHEAD_SOFTFLOAT_SEED ?? 1);
const cases = Number(process.env.BULKHEAD_SOFTFLOAT_CASES ?? 500);
console.log(`seed ${seed}, ${cases} cases per instruction`);

const oracle = ProcessorOracle.open();
const skip = typeof oracle === 'string' ? oracle : false;
after(() => typeof oracle !== 'string' && oracle.close());

interface Input {
  controlWord: number;
  a: F80Bits;
  b: F80Bits;
  /** What rdi points to: up to 10 bytes. */
  memory: bigint;
}

/** What the model says of one instruction; parts that are left out are not compared. */
interface Outcome {
  st0?: F80Bits;
  st1?: F80Bits;
  /** The memory operand after a store. */
  memory?: bigint;
  /** C0 … C3 in their places in the status word, C1 excepted. */
  conditions?: number;
}

interface Row {
  name: string;
  bytes: number[];
  memoryBits?: number;
  operand?: (random: Random, a: F80Bits) => bigint;
  run: (context: FloatContext, input: Input) => Outcome;
}

const rows: Row[] = [];
const value = (context: FloatContext, signExponent: number): F80Bits => ({
  signExponent,
  significand: context.significand,
});
const st0 = (context: FloatContext, signExponent: number): Outcome => ({ st0: value(context, signExponent) });

const ARITHMETIC = [
  ['fadd', 0, f80.addOperands],
  ['fmul', 1, f80.multiplyOperands],
  ['fsub', 4, f80.subtractOperands],
  ['fsubr', 5, f80.subtractOperands],
  ['fdiv', 6, f80.divideOperands],
  ['fdivr', 7, f80.divideOperands],
] as const;
const near32 = (random: Random, a: F80Bits): bigint => {
  const field = (a.signExponent & 0x7fff) - 16383 + 127;
  const first =
    field > 0 && field < 255 ? field * 2 ** 23 + Number((a.significand >> 40n) & 0x7fffffn) : randomF32(random);
  return BigInt(randomF32Near(random, first));
};
const near64 = (random: Random, a: F80Bits): bigint => {
  const field = (a.signExponent & 0x7fff) - 16383 + 1023;
  const near = (BigInt(field) << 52n) | ((a.significand >> 11n) & 0xfffffffffffffn);
  return randomF64Near(random, field > 0 && field < 2047 ? near : randomF64(random));
};
const integer = (random: Random): bigint => BigInt.asUintN(64, random.bits64() << BigInt(random.below(64)));
const OPERANDS = [
  ['st, st(1)', [0xd8], 0xc1, undefined, (input: Input) => f80.setB(input.b.signExponent, input.b.significand)],
  ['m32fp', [0xd8], 0x07, near32, (input: Input) => f80.setBFromF32(Number(input.memory & 0xffffffffn))],
  ['m64fp', [0xdc], 0x07, near64, (input: Input) => f80.setBFromF64(BigInt.asUintN(64, input.memory))],
  ['m16int', [0xde], 0x07, integer, (input: Input) => f80.setBFromInteger(BigInt.asIntN(16, input.memory))],
  ['m32int', [0xda], 0x07, integer, (input: Input) => f80.setBFromInteger(BigInt.asIntN(32, input.memory))],
] as const;
for (const [operandName, opcode, modrm, operand, setB] of OPERANDS) {
  for (const [name, extension, compute] of ARITHMETIC) {
    rows.push({
      name: `${name} ${operandName}`,
      bytes: [...opcode, modrm + 8 * extension],
      operand,
      run: (context, input) => {
        f80.setA(input.a.signExponent, input.a.significand);
        setB(input);
        if (name.endsWith('r')) f80.swapOperands();
        return st0(context, compute(context));
      },
    });
  }
  rows.push({
    name: `fcom ${operandName}`,
    bytes: [...opcode, modrm + 8 * 2],
    operand,
    run: (context, input) => {
      f80.setA(input.a.signExponent, input.a.significand);
      setB(input);
      return { conditions: [0, 0x100, 0x4000, 0x4500][f80.compareOperands(context, true)]! };
    },
  });
}

type Unary = (context: FloatContext, signExponent: number, significand: bigint) => number;
type Binary = (context: FloatContext, aSE: number, a: bigint, bSE: number, b: bigint) => number;
const unary = (name: string, opcode: number, compute: Unary): Row => ({
  name,
  bytes: [0xd9, opcode],
  run: (context, { a }) => st0(context, compute(context, a.signExponent, a.significand)),
});
const binary = (name: string, opcode: number, compute: Binary): Row => ({
  name,
  bytes: [0xd9, opcode],
  run: (context, { a, b }) =>
    st0(context, compute(context, a.signExponent, a.significand, b.signExponent, b.significand)),
});
const remainder = (name: string, opcode: number, nearest: boolean): Row => ({
  name,
  bytes: [0xd9, opcode],
  run: (context, { a, b }) => {
    const report = { quotient: 0, incomplete: false };
    const result = f80.f80Remainder(
      context,
      a.signExponent,
      a.significand,
      b.signExponent,
      b.significand,
      nearest,
      report,
    );
    if (report.quotient < 0) return st0(context, result);
    const c0 = report.quotient & 4 ? 0x100 : 0;
    const c3 = report.quotient & 2 ? 0x4000 : 0;
    context.roundedUp = (report.quotient & 1) !== 0;
    return { ...st0(context, result), conditions: c0 | c3 | (report.incomplete ? 0x400 : 0) };
  },
});
rows.push(
  unary('fsqrt', 0xfa, f80.f80Sqrt),
  unary('frndint', 0xfc, f80.f80RoundToIntegral),
  binary('fscale', 0xfd, f80.f80Scale),
  remainder('fprem', 0xf8, false),
  remainder('fprem1', 0xf5, true),
  {
    name: 'fucom',
    bytes: [0xdd, 0xe1],
    run: (context, { a, b }) => {
      const relation = f80.f80Compare(context, a.signExponent, a.significand, b.signExponent, b.significand, false);
      return { conditions: [0, 0x100, 0x4000, 0x4500][relation]! };
    },
  },
  {
    name: 'fxtract',
    bytes: [0xd9, 0xf4],
    run: (context, { a }) => {
      const exponent = { signExponent: 0, significand: 0n };
      const result = f80.f80Extract(context, a.signExponent, a.significand, exponent);
      return { st0: value(context, result), st1: exponent };
    },
  },
  {
    name: 'fld m32fp',
    bytes: [0xd9, 0x07],
    operand: (random) => BigInt(randomF32(random)),
    run: (context, { memory }) => st0(context, f80.f80FromF32(context, Number(memory & 0xffffffffn))),
  },
  {
    name: 'fld m64fp',
    bytes: [0xdd, 0x07],
    operand: randomF64,
    run: (context, { memory }) => st0(context, f80.f80FromF64(context, BigInt.asUintN(64, memory))),
  },
  {
    name: 'fbld',
    bytes: [0xdf, 0x27],
    operand: (random) => {
      let digits = BigInt(random.below(2)) << 79n;
      const count = random.below(19);
      for (let i = 0; i < count; i++) digits |= BigInt(random.below(10)) << BigInt(4 * i);
      return digits;
    },
    run: (context, { memory }) => st0(context, f80.f80FromBcd(context, memory)),
  },
  {
    name: 'fbstp',
    bytes: [0xdf, 0x37],
    memoryBits: 80,
    run: (context, { a }) => ({ memory: f80.f80ToBcd(context, a.signExponent, a.significand) }),
  },
  {
    name: 'fst m32fp',
    bytes: [0xd9, 0x17],
    memoryBits: 32,
    run: (context, { a }) => ({ memory: BigInt(f80.f80ToF32(context, a.signExponent, a.significand)) }),
  },
  {
    name: 'fst m64fp',
    bytes: [0xdd, 0x17],
    memoryBits: 64,
    run: (context, { a }) => ({ memory: f80.f80ToF64(context, a.signExponent, a.significand) }),
  },
);
const LOADS = [
  ['m16int', 0xdf, 0x07, 16],
  ['m32int', 0xdb, 0x07, 32],
  ['m64int', 0xdf, 0x2f, 64],
] as const;
for (const [name, opcode, modrm, bits] of LOADS) {
  rows.push({
    name: `fild ${name}`,
    bytes: [opcode, modrm],
    operand: integer,
    run: (context, { memory }) => st0(context, f80.f80FromInteger(context, BigInt.asIntN(bits, memory))),
  });
}
const STORES = [
  ['fist m16int', 0xdf, 0x17, 16, false],
  ['fist m32int', 0xdb, 0x17, 32, false],
  ['fistp m64int', 0xdf, 0x3f, 64, false],
  ['fisttp m16int', 0xdf, 0x0f, 16, true],
  ['fisttp m32int', 0xdb, 0x0f, 32, true],
  ['fisttp m64int', 0xdd, 0x0f, 64, true],
] as const;
for (const [name, opcode, modrm, bits, truncate] of STORES) {
  rows.push({
    name,
    bytes: [opcode, modrm],
    memoryBits: bits,
    run: (context, { a }) => ({
      memory: f80.f80ToInteger(context, a.signExponent, a.significand, bits, truncate),
    }),
  });
}
for (let index = 0; index < 7; index++) {
  rows.push({
    name: `constant D9 E${(8 + index).toString(16)}`,
    bytes: [0xd9, 0xe8 + index],
    run: (context) => st0(context, f80.f80Constant(context, index)),
  });
}

function request(row: Row, input: Input): OracleRequest {
  const view = new DataView(new ArrayBuffer(512));
  view.setUint16(FXSAVE.FCW, input.controlWord, true);
  // ST(0) and ST(1) in R6 and R7, the rest empty.
  view.setUint16(FXSAVE.FSW, 6 << 11, true);
  view.setUint8(FXSAVE.FTW, 0xc0);
  view.setUint32(FXSAVE.MXCSR, 0x1f80, true);
  [input.a, input.b].forEach((operand, index) => {
    view.setBigUint64(FXSAVE.ST + 16 * index, operand.significand, true);
    view.setUint16(FXSAVE.ST + 16 * index + 8, operand.signExponent, true);
  });
  const memory = new Uint8Array(128);
  const memoryView = new DataView(memory.buffer);
  memoryView.setBigUint64(0, BigInt.asUintN(64, input.memory), true);
  memoryView.setUint16(8, Number(input.memory >> 64n), true);
  return {
    instruction: Uint8Array.from(row.bytes),
    rax: 0n,
    rflags: 0n,
    fxsave: new Uint8Array(view.buffer),
    memory,
  };
}

const show = ({ signExponent, significand }: F80Bits): string =>
  `${signExponent.toString(16).padStart(4, '0')}:${significand.toString(16).padStart(16, '0')}`;
const register = (response: OracleResponse, index: number): F80Bits => ({
  signExponent: response.fxsave.getUint16(FXSAVE.ST + 16 * index + 8, true),
  significand: response.fxsave.getBigUint64(FXSAVE.ST + 16 * index, true),
});

function compare(row: Row, input: Input, response: OracleResponse): void {
  const context = new FloatContext();
  context.setControlWord(input.controlWord);
  const outcome = row.run(context, input);
  const statusWord = response.fxsave.getUint16(FXSAVE.FSW, true);
  // FLD of a denormal loads it even where DE is unmasked.
  const suppressing = row.memoryBits !== undefined ? 0x1f : row.name.startsWith('fld m') ? 0x01 : 0x07;
  const suppressed = (context.flags & ~context.masks & suppressing) !== 0;
  const actual: Record<string, unknown> = { flags: context.flags.toString(16) };
  const wanted: Record<string, unknown> = { flags: (statusWord & 0x3f).toString(16) };
  if (!suppressed) {
    actual.c1 = context.roundedUp;
    wanted.c1 = (statusWord & 0x200) !== 0;
    if (outcome.conditions !== undefined) {
      actual.conditions = outcome.conditions.toString(16);
      wanted.conditions = (statusWord & 0x4500).toString(16);
    }
  }
  if (outcome.st0 !== undefined) {
    actual.st0 = show(suppressed ? input.a : outcome.st0);
    wanted.st0 = show(register(response, 0));
  }
  if (outcome.st1 !== undefined && !suppressed) {
    actual.st1 = show(outcome.st1);
    wanted.st1 = show(register(response, 1));
  }
  if (outcome.memory !== undefined) {
    const low = response.memory.getBigUint64(0, true);
    const stored = low | (BigInt(response.memory.getUint16(8, true)) << 64n);
    actual.memory = BigInt.asUintN(row.memoryBits!, suppressed ? input.memory : outcome.memory).toString(16);
    wanted.memory = BigInt.asUintN(row.memoryBits!, stored).toString(16);
  }
  const message =
    `${row.name} fcw ${input.controlWord.toString(16)} a ${show(input.a)} b ${show(input.b)} ` +
    `memory ${input.memory.toString(16)}`;
  assert.deepEqual(actual, wanted, message);
}

function compareBatch(row: Row, random: Random, count: number): void {
  const inputs: Input[] = [];
  for (let i = 0; i < count; i++) {
    const masks = random.below(2) === 0 ? 0x3f : random.below(0x40);
    const precision = random.choose([0, 1, 2, 3]);
    const a = randomF80(random);
    inputs.push({
      controlWord: (random.below(4) << 10) | (precision << 8) | 0x40 | masks,
      a,
      b: randomF80Near(random, a),
      memory: row.operand?.(random, a) ?? random.bits64(),
    });
  }
  const responses = (oracle as ProcessorOracle).run(inputs.map((input) => request(row, input)));
  inputs.forEach((input, index) => {
    compare(row, input, responses[index]!);
  });
}

for (const row of rows) {
  test(`${row.name} gives the processor's result, flags and conditions`, { skip }, () => {
    const random = new Random(seed);
    for (let done = 0; done < cases; done += 20000) compareBatch(row, random, Math.min(20000, cases - done));
  });
}
