// The x87 FPU (Intel SDM volume 1, 5.2). The engine's x87 does the arithmetic; here operands are fetched and stored,
// and the order of checks is kept: #NM first, then the pending #MF, then memory.

import type { Builder, InstructionLift, OperandLift, Value } from '../ir/builder.ts';
import { X87_OPERAND, X87_OPERATION } from '../ir/x87-operations.ts';
import { condition as conditionValue, setArithmeticFlagsImage } from './flags.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';

const RAX = 0;

type OperationName = keyof typeof X87_OPERATION;

/** The kind of a memory operand by the instruction's name and the operand's size. */
function memoryKind(name: string, sizeBytes: number): number {
  if (name === 'fbld' || name === 'fbstp') return X87_OPERAND.BCD;
  if (name.startsWith('fi')) return { 2: X87_OPERAND.I16, 4: X87_OPERAND.I32, 8: X87_OPERAND.I64 }[sizeBytes]!;
  return { 4: X87_OPERAND.F32, 8: X87_OPERAND.F64, 10: X87_OPERAND.F80 }[sizeBytes]!;
}

/** The number that the engine takes for register operands: i, or TO_REGISTER + i where ST(i) is the destination. */
function registerOperand(b: Builder, i: InstructionLift): Value {
  const [first, second] = i.operands;
  const numbered = (operand: OperandLift | undefined): operand is OperandLift =>
    operand !== undefined && operand.kind === 'register' && operand.location.kind === 'slot';
  if (numbered(second)) return b.index(second);
  if (!numbered(first)) return b.i32(0);
  if (second === undefined) return b.index(first);
  return b.op('i32.add', b.index(first), b.i32(X87_OPERAND.TO_REGISTER));
}

function run(b: Builder, operation: number, operand: Value, low: Value, high: Value): void {
  b.call('x87', b.i32(operation), operand, low, high);
}

const arithmetic =
  (name: OperationName): Lift =>
  (b, i) => {
    b.call('checkX87');
    const operation = X87_OPERATION[name];
    const memory = i.operands.find((operand) => operand.kind === 'memory');
    if (memory === undefined) {
      run(b, operation, registerOperand(b, i), b.i64(0), b.i32(0));
      return;
    }
    b.call('x87Wait');
    const size = sizeOf(memory);
    const address = b.address(memory, false);
    const low = b.load(address, Math.min(size, 8));
    const high = size === 10 ? b.wrap(b.load(b.add(address, b.i64(8)), 2)) : b.i32(0);
    b.setField('x87DataPointer', b.offset(memory));
    run(b, operation, b.i32(memoryKind(i.mnemonic, size)), low, high);
  };

const store =
  (name: OperationName): Lift =>
  (b, i) => {
    const memory = i.operands[0]!;
    if (memory.kind !== 'memory') {
      arithmetic(name)(b, i);
      return;
    }
    b.call('checkX87');
    const size = sizeOf(memory);
    const kind = memoryKind(i.mnemonic, size);
    const low = b.call('x87PrepareStore', b.i32(X87_OPERATION[name]), b.i32(kind));
    const outcome = b.getField('scratch0');
    const address = b.address(memory, true);
    // Where the operand spans two pages neither part is written unless both can be.
    if (size === 10) b.call('checkWritable', address, b.i32(size));
    b.if(
      b.wrap(b.and(outcome, b.i64(0xff))),
      () => {
        if (size === 10) b.store(b.add(address, b.i64(8)), 2, b.and(b.shrU(outcome, b.i64(16)), b.i64(0xffff)));
        b.store(address, Math.min(size, 8), b.truncate(low, Math.min(size, 8)));
      },
      () => {
        // An unmasked exception forbids the store, but memory's faults come before it.
        if (size !== 10) b.call('checkWritable', address, b.i32(size));
      },
    );
    b.setField('x87DataPointer', b.offset(memory));
    b.call('x87CommitStore');
  };

const compareToFlags =
  (name: OperationName): Lift =>
  (b, i) => {
    arithmetic(name)(b, i);
    setArithmeticFlagsImage(b, b.getField('scratch0'));
  };

const conditionalMove =
  (condition: number): Lift =>
  (b, i) => {
    b.call('checkX87');
    run(b, X87_OPERATION.fcmov, registerOperand(b, i), b.extend(conditionValue(b, condition)), b.i32(0));
  };

const environment =
  (operation: number): Lift =>
  (b, i) => {
    b.call('checkX87');
    // FLDENV and FRSTOR wait.
    if (operation === 1 || operation === 3) b.call('x87Wait');
    const memory = i.operands[0]!;
    const state = operation >= 2;
    const bytes = (i.operandBytes === 2 ? 14 : 28) + (state ? 80 : 0);
    const address = b.address(memory, operation === 0 || operation === 2, bytes);
    b.call('x87Environment', b.i32(operation), address, b.i32(i.operandBytes));
  };

function fldcw(b: Builder, i: InstructionLift): void {
  b.call('checkX87');
  b.call('x87Wait');
  run(b, X87_OPERATION.fldcw, b.i32(X87_OPERAND.I16), b.read(i.operands[0]!), b.i32(0));
}

const storeWord =
  (field: 'x87Control' | 'x87Status'): Lift =>
  (b, i) => {
    b.call('checkX87');
    const value = b.and(b.extend(b.getField(field)), b.i64(0xffff));
    const operand = i.operands[0]!;
    if (operand.kind === 'register') b.setGpr(RAX, 2, value);
    else b.write(operand, value);
  };

const PLAIN: readonly OperationName[] = [
  ...([
    'fadd',
    'fmul',
    'fcom',
    'fcomp',
    'fsub',
    'fsubr',
    'fdiv',
    'fdivr',
    'fiadd',
    'fimul',
    'ficom',
    'ficomp',
  ] as const),
  ...([
    'fisub',
    'fisubr',
    'fidiv',
    'fidivr',
    'faddp',
    'fmulp',
    'fcompp',
    'fsubp',
    'fsubrp',
    'fdivp',
    'fdivrp',
  ] as const),
  ...([
    'fucom',
    'fucomp',
    'fucompp',
    'fld',
    'fild',
    'fbld',
    'fxch',
    'ffree',
    'ffreep',
    'fnop',
    'fnclex',
    'fninit',
  ] as const),
  ...([
    'fchs',
    'fabs',
    'ftst',
    'fxam',
    'fld1',
    'fldl2t',
    'fldl2e',
    'fldpi',
    'fldlg2',
    'fldln2',
    'fldz',
    'f2xm1',
  ] as const),
  ...(['fyl2x', 'fptan', 'fpatan', 'fxtract', 'fprem1', 'fdecstp', 'fincstp', 'fprem', 'fyl2xp1', 'fsqrt'] as const),
  ...(['fsincos', 'frndint', 'fscale', 'fsin', 'fcos', 'fstpnce', 'fneni'] as const),
];
const STORES: readonly OperationName[] = ['fst', 'fstp', 'fist', 'fistp', 'fisttp', 'fbstp'];
const TO_FLAGS: readonly OperationName[] = ['fcomi', 'fcomip', 'fucomi', 'fucomip'];
/** The condition codes of FCMOVcc: below, equal, below or equal, unordered, and their opposites. */
const MOVES = { fcmovb: 2, fcmovnb: 3, fcmove: 4, fcmovne: 5, fcmovbe: 6, fcmovnbe: 7, fcmovu: 10, fcmovnu: 11 };

const named = (names: readonly OperationName[], make: (name: OperationName) => Lift): [string, Lift][] =>
  names.map((name) => [name, make(name)]);

export const x87Lifts: Lifts = {
  ...Object.fromEntries([
    ...named(PLAIN, arithmetic),
    ...named(STORES, store),
    ...named(TO_FLAGS, compareToFlags),
    ...Object.entries(MOVES).map(([name, condition]): [string, Lift] => [name, conditionalMove(condition)]),
  ]),
  fnstenv: environment(0),
  fldenv: environment(1),
  fnsave: environment(2),
  frstor: environment(3),
  fldcw,
  fnstcw: storeWord('x87Control'),
  fnstsw: storeWord('x87Status'),
  fwait: (b) => void b.call('checkWait'),
};
