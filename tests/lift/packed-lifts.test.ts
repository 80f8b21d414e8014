// Every MMX and SSE row has a lift, and every lift builds its body for each form of its operands.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder, type InstructionLift, type OperandLift } from '../../src/ir/builder.ts';
import { OPERAND_SIZES, parseOperandCode } from '../../src/isa/operand-code.ts';
import type { Feature, Row } from '../../src/isa/row.ts';
import { ROWS } from '../../src/isa/rows.ts';
import { cryptoLifts } from '../../src/lift/crypto.ts';
import { floatingPointLifts } from '../../src/lift/floating-point.ts';
import type { Lifts } from '../../src/lift/lift.ts';
import { packedIntegerLifts } from '../../src/lift/packed-integer.ts';
import { packedMoveLifts } from '../../src/lift/packed-move.ts';
import { packedShuffleLifts } from '../../src/lift/packed-shuffle.ts';
import { packedStringLifts } from '../../src/lift/packed-string.ts';

const FAMILIES = [
  packedMoveLifts,
  packedShuffleLifts,
  packedIntegerLifts,
  floatingPointLifts,
  packedStringLifts,
  cryptoLifts,
];
const LIFTS: Lifts = Object.assign({}, ...FAMILIES);
const FEATURES: readonly Feature[] = ['mmx', 'sse', 'sse2', 'sse3', 'ssse3', 'sse4.1', 'sse4.2', 'aes', 'pclmulqdq'];
/** Rows of those features that work on no vector register, or on control state alone. */
const ELSEWHERE = new Set('crc32 movnti emms ldmxcsr stmxcsr lfence mfence sfence fisttp'.split(' '));

const rows = ROWS.filter((row) => FEATURES.includes(row.feature) && !ELSEWHERE.has(row.lift));

/** The operand as a register and as memory, as far as its code allows; immediates unknown and known. */
function forms(code: string, slot: 'r0' | 'r1', size: 2 | 4 | 8): OperandLift[] {
  const parsed = parseOperandCode(code);
  const column = size === 8 ? 2 : size === 4 ? 1 : 0;
  const bytes = (name: string): number => OPERAND_SIZES[name]![column]!;
  const register = (file: 'gpr' | 'xmm' | 'mmx'): OperandLift => ({
    kind: 'register',
    file,
    location: { kind: 'slot', slot },
    sizeBytes: bytes(parsed.registerSize),
  });
  const memory: OperandLift = { kind: 'memory', shape: 'base', sizeBytes: bytes(parsed.memorySize) };
  switch (parsed.method) {
    case 'V':
    case 'U':
      return [register('xmm')];
    case 'W':
      return [register('xmm'), memory];
    case 'P':
    case 'N':
      return [register('mmx')];
    case 'Q':
      return [register('mmx'), memory];
    case 'G':
    case 'R':
      return [register('gpr')];
    case 'E':
      return [register('gpr'), memory];
    case 'M':
    case 'BD':
      return [memory];
    case 'I':
      return [
        { kind: 'immediate', value: 'imm0', sizeBytes: 1 },
        { kind: 'immediate', value: 0x1bn, sizeBytes: 1 },
        { kind: 'immediate', value: 0xffn, sizeBytes: 1 },
      ];
    default:
      throw new Error(`operand ${code} was not expected`);
  }
}

function combinations(row: Row, size: 2 | 4 | 8): OperandLift[][] {
  return row.operands.reduce<OperandLift[][]>(
    (lists, code, index) =>
      lists.flatMap((list) => forms(code, index === 0 ? 'r0' : 'r1', size).map((form) => [...list, form])),
    [[]],
  );
}

test('every MMX and SSE row has a lift', () => {
  const missing = rows.filter((row) => LIFTS[row.lift] === undefined).map((row) => `${row.mnemonic} (${row.opcode})`);
  assert.deepEqual(missing, []);
});

test('no lift is without a row, and none is defined twice', () => {
  const used = new Set(rows.map((row) => row.lift));
  assert.deepEqual(
    Object.keys(LIFTS).filter((name) => !used.has(name)),
    [],
  );
  const names = FAMILIES.flatMap((family) => Object.keys(family));
  assert.equal(names.length, new Set(names).size);
});

test('every lift builds a body for every form of its operands', () => {
  for (const row of rows) {
    for (const size of [4, 8] as const) {
      for (const operands of combinations(row, size)) {
        const b = new Builder();
        const instruction: InstructionLift = {
          lift: row.lift,
          mnemonic: row.mnemonic,
          condition: 0,
          operands,
          operandBytes: size,
          addressBytes: 8,
          long: true,
          lock: false,
          repeat: 'none',
        };
        try {
          LIFTS[row.lift]!(b, instruction);
        } catch (error) {
          throw new Error(`${row.mnemonic} ${row.operands}`, { cause: error });
        }
        assert.ok(b.body.length > 2, row.mnemonic);
      }
    }
  }
});
