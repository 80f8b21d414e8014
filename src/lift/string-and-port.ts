// String instructions and port I/O (Intel SDM volume 1, 5.1.8 and 5.1.9). A repeated one runs a turn, or in bulk as
// many as the engine can, and then itself again, so that interrupts and faults find it between turns.

import type { Builder, InstructionLift, Value } from '../ir/builder.ts';
import { setSubtractFlags } from './flags.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSI = 6;
const RDI = 7;
const ES = 0;

/** ES:RDI, which no prefix overrides. */
function destinationAddress(b: Builder, i: InstructionLift, sizeBytes: number, write: boolean): Value {
  const offset = b.gpr(RDI, i.addressBytes);
  if (i.long) return offset;
  b.call('checkSegment', b.i32(ES), offset, b.i32(sizeBytes), b.i32(write ? 1 : 0));
  return b.truncate(b.add(offset, b.getField('esBase')), 4);
}

/** The distance to the next element: its size, negative when DF is set. */
function stride(b: Builder, sizeBytes: number): Value {
  const backwards = b.and(b.shrU(b.extend(b.getField('systemFlags')), b.i64(10)), b.i64(1));
  return b.sub(b.i64(sizeBytes), b.mul(backwards, b.i64(2 * sizeBytes)));
}

function advance(b: Builder, i: InstructionLift, register: number, by: Value): void {
  b.setGpr(register, i.addressBytes, b.truncate(b.add(b.gpr(register, i.addressBytes), by), i.addressBytes));
}

const count = (b: Builder, i: InstructionLift): Value => b.gpr(RCX, i.addressBytes);

/** Runs `turn` while the count lasts; `turn` gives the condition (i32) to go on besides, or nothing. */
function repeated(b: Builder, i: InstructionLift, turn: () => Value | undefined): void {
  if (i.repeat === 'none') {
    turn();
    return;
  }
  const before = count(b, i);
  b.if(b.op('i32.eqz', b.eqz(before)), () => {
    const goOn = turn();
    const left = b.truncate(b.sub(before, b.i64(1)), i.addressBytes);
    b.setGpr(RCX, i.addressBytes, left);
    const more = b.op('i32.eqz', b.eqz(left));
    b.if(goOn === undefined ? more : b.op('i32.and', more, goOn), () => b.again());
  });
}

/** The size of the element: that of the memory operand. */
const elementSize = (i: InstructionLift): number => sizeOf(i.operands.find((operand) => operand.kind === 'memory')!);

function movs(b: Builder, i: InstructionLift): void {
  const size = elementSize(i);
  if (i.repeat !== 'none') {
    bulk(b, i, () => b.call('repMovs', b.i32(size), b.i32(i.addressBytes), b.segmentSlot(i.operands[1]!)));
    return;
  }
  const value = b.read(i.operands[1]!);
  b.store(destinationAddress(b, i, size, true), size, value);
  const by = stride(b, size);
  advance(b, i, RSI, by);
  advance(b, i, RDI, by);
}

function stos(b: Builder, i: InstructionLift): void {
  const size = elementSize(i);
  if (i.repeat !== 'none') {
    bulk(b, i, () => b.call('repStos', b.i32(size), b.i32(i.addressBytes)));
    return;
  }
  b.store(destinationAddress(b, i, size, true), size, b.gpr(RAX, size));
  advance(b, i, RDI, stride(b, size));
}

/** The engine does many turns at once and updates the registers; what is left runs again. */
function bulk(b: Builder, i: InstructionLift, run: () => void): void {
  b.if(b.op('i32.eqz', b.eqz(count(b, i))), () => {
    run();
    b.if(b.op('i32.eqz', b.eqz(count(b, i))), () => b.again());
  });
}

function lods(b: Builder, i: InstructionLift): void {
  const size = elementSize(i);
  repeated(b, i, () => {
    b.setGpr(RAX, size, b.read(i.operands[1]!));
    advance(b, i, RSI, stride(b, size));
    return undefined;
  });
}

/** REPE goes on while equal, REPNE while not. */
function goOnWhile(b: Builder, i: InstructionLift, x: Value, y: Value): Value {
  return i.repeat === 'repnz' ? b.ne(x, y) : b.eq(x, y);
}

function cmps(b: Builder, i: InstructionLift): void {
  const size = elementSize(i);
  repeated(b, i, () => {
    const x = b.read(i.operands[0]!);
    const y = b.load(destinationAddress(b, i, size, false), size);
    setSubtractFlags(b, size, x, y, b.truncate(b.sub(x, y), size));
    const by = stride(b, size);
    advance(b, i, RSI, by);
    advance(b, i, RDI, by);
    return goOnWhile(b, i, x, y);
  });
}

function scas(b: Builder, i: InstructionLift): void {
  const size = elementSize(i);
  repeated(b, i, () => {
    const x = b.gpr(RAX, size);
    const y = b.load(destinationAddress(b, i, size, false), size);
    setSubtractFlags(b, size, x, y, b.truncate(b.sub(x, y), size));
    advance(b, i, RDI, stride(b, size));
    return goOnWhile(b, i, x, y);
  });
}

const stringPort =
  (name: 'ins' | 'outs'): Lift =>
  (b, i) => {
    const size = b.i32(elementSize(i));
    const address = b.i32(i.addressBytes);
    const run = (again: number): void => {
      if (name === 'ins') b.call('ins', size, address, b.i32(again));
      else b.call('outs', size, address, b.i32(again), b.segmentSlot(i.operands[1]!));
    };
    if (i.repeat === 'none') run(0);
    else bulk(b, i, () => run(1));
  };

function portNumber(b: Builder, i: InstructionLift, operand: number): Value {
  const source = i.operands[operand]!;
  return source.kind === 'immediate' ? b.wrap(b.and(b.read(source), b.i64(0xff))) : b.wrap(b.gpr(RDX, 2));
}

function input(b: Builder, i: InstructionLift): void {
  const size = sizeOf(i.operands[0]!);
  b.setGpr(RAX, size, b.extend(b.call('readPort', portNumber(b, i, 1), b.i32(size))));
}

function output(b: Builder, i: InstructionLift): void {
  const size = sizeOf(i.operands[1]!);
  b.call('writePort', portNumber(b, i, 0), b.i32(size), b.wrap(b.gpr(RAX, size)));
}

export const stringAndPortLifts: Lifts = {
  movs,
  stos,
  lods,
  cmps,
  scas,
  ins: stringPort('ins'),
  outs: stringPort('outs'),
  in: input,
  out: output,
};
