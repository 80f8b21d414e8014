// transcendental.ts against the host's processor: special values, flags and C2 exactly, results to one unit in the
// last place (both round from more bits than 64, not from the same ones). BULKHEAD_SOFTFLOAT_CASES and _SEED as ever.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  FXSAVE,
  type OracleRequest,
  type OracleResponse,
  ProcessorOracle,
  Random,
} from '../../../tests/processor-oracle.ts';
import { type F80Bits, randomF80, randomF80Near } from '../../../tests/softfloat-operands.ts';
import { FloatContext } from './context.ts';
import * as transcendental from './transcendental.ts';

const seed = Number(process.env.BULKHEAD_SOFTFLOAT_SEED ?? 1);
const cases = Number(process.env.BULKHEAD_SOFTFLOAT_CASES ?? 500);
console.log(`seed ${seed}, ${cases} cases per instruction`);

const oracle = ProcessorOracle.open();
const skip = typeof oracle === 'string' ? oracle : false;
after(() => typeof oracle !== 'string' && oracle.close());

interface Row {
  name: string;
  opcode: number;
  /** Exponents (unbiased) between which most operands lie. */
  range: [number, number];
  /** Which register holds the result afterwards. */
  resultIndex: number;
  run: (context: FloatContext, a: F80Bits, b: F80Bits, report: transcendental.AngleReport) => number;
}

const rows: Row[] = [
  {
    name: 'f2xm1',
    opcode: 0xf0,
    range: [-70, -1],
    resultIndex: 0,
    run: (context, a) => transcendental.f80Exp2Minus1(context, a.signExponent, a.significand),
  },
  {
    name: 'fyl2x',
    opcode: 0xf1,
    range: [-70, 70],
    resultIndex: 0,
    run: (context, a, b) =>
      transcendental.f80YLog2X(context, a.signExponent, a.significand, b.signExponent, b.significand),
  },
  {
    name: 'fptan',
    opcode: 0xf2,
    range: [-70, 63],
    resultIndex: 1,
    run: (context, a, _, report) => transcendental.f80Tan(context, a.signExponent, a.significand, report),
  },
  {
    name: 'fpatan',
    opcode: 0xf3,
    range: [-70, 70],
    resultIndex: 0,
    run: (context, a, b) =>
      transcendental.f80AtanYX(context, a.signExponent, a.significand, b.signExponent, b.significand),
  },
  {
    name: 'fyl2xp1',
    opcode: 0xf9,
    range: [-70, -3],
    resultIndex: 0,
    run: (context, a, b) =>
      transcendental.f80YLog2XPlus1(context, a.signExponent, a.significand, b.signExponent, b.significand),
  },
  {
    name: 'fsin',
    opcode: 0xfe,
    range: [-70, 63],
    resultIndex: 0,
    run: (context, a, _, report) => transcendental.f80Sin(context, a.signExponent, a.significand, report),
  },
  {
    name: 'fcos',
    opcode: 0xff,
    range: [-70, 63],
    resultIndex: 0,
    run: (context, a, _, report) => transcendental.f80Cos(context, a.signExponent, a.significand, report),
  },
];

interface Input {
  controlWord: number;
  a: F80Bits;
  b: F80Bits;
}

const show = ({ signExponent, significand }: F80Bits): string =>
  `${signExponent.toString(16).padStart(4, '0')}:${significand.toString(16).padStart(16, '0')}`;

/** Magnitudes as one number whose steps are units in the last place. */
const ordinal = ({ signExponent, significand }: F80Bits): bigint =>
  (BigInt(signExponent & 0x7fff) << 63n) + BigInt.asUintN(63, significand);

function request(row: Row, input: Input): OracleRequest {
  const view = new DataView(new ArrayBuffer(512));
  view.setUint16(FXSAVE.FCW, input.controlWord, true);
  view.setUint16(FXSAVE.FSW, 6 << 11, true);
  view.setUint8(FXSAVE.FTW, 0xc0);
  view.setUint32(FXSAVE.MXCSR, 0x1f80, true);
  [input.a, input.b].forEach((operand, index) => {
    view.setBigUint64(FXSAVE.ST + 16 * index, operand.significand, true);
    view.setUint16(FXSAVE.ST + 16 * index + 8, operand.signExponent, true);
  });
  return {
    instruction: Uint8Array.of(0xd9, row.opcode),
    rax: 0n,
    rflags: 0n,
    fxsave: new Uint8Array(view.buffer),
    memory: new Uint8Array(128),
  };
}

function compare(row: Row, input: Input, response: OracleResponse): void {
  const context = new FloatContext();
  context.setControlWord(input.controlWord);
  const report = { outOfRange: false };
  const signExponent = row.run(context, input.a, input.b, report);
  const result = { signExponent, significand: context.significand };
  const statusWord = response.fxsave.getUint16(FXSAVE.FSW, true);
  const message = `${row.name} fcw ${input.controlWord.toString(16)} a ${show(input.a)} b ${show(input.b)}`;
  assert.equal(context.flags.toString(16), (statusWord & 0x3f).toString(16), `flags of ${message}`);
  assert.equal(report.outOfRange, (statusWord & 0x400) !== 0, `C2 of ${message}`);
  if (report.outOfRange || (context.flags & ~context.masks & 7) !== 0) return;
  const wanted = {
    signExponent: response.fxsave.getUint16(FXSAVE.ST + 16 * row.resultIndex + 8, true),
    significand: response.fxsave.getBigUint64(FXSAVE.ST + 16 * row.resultIndex, true),
  };
  const distance = ordinal(result) - ordinal(wanted);
  const near = (context.flags & 0x20) !== 0 && result.signExponent >> 15 === wanted.signExponent >> 15;
  if (near && distance >= -1n && distance <= 1n) return;
  assert.equal(show(result), show(wanted), message);
}

function randomOperand(random: Random, row: Row): F80Bits {
  if (random.below(4) === 0) return randomF80(random);
  const [low, high] = row.range;
  const exponent = 16383 + low + random.below(high - low + 1);
  return {
    ...randomF80(random),
    signExponent: random.below(2) * 0x8000 + exponent,
    significand: random.bits64() | (1n << 63n),
  };
}

for (const row of rows) {
  test(`${row.name} gives the processor's flags, and its result to a unit in the last place`, { skip }, () => {
    if (typeof oracle === 'string') return;
    const random = new Random(seed);
    for (let done = 0; done < cases; done += 20000) {
      const inputs: Input[] = [];
      for (let i = done; i < Math.min(cases, done + 20000); i++) {
        const masks = random.below(2) === 0 ? 0x3f : random.below(0x40);
        const a = randomOperand(random, row);
        const b = random.below(2) === 0 ? randomOperand(random, row) : randomF80Near(random, a);
        inputs.push({ controlWord: (random.below(4) << 10) | 0x340 | masks, a, b });
      }
      const responses = oracle.run(inputs.map((input) => request(row, input)));
      inputs.forEach((input, index) => {
        compare(row, input, responses[index]!);
      });
    }
  });
}
