// What a lifting function is: the meaning of one instruction, written once against the builder.

import type { Builder, InstructionLift, OperandLift } from '../ir/builder.ts';

export type Lift = (b: Builder, i: InstructionLift) => void;
export type Lifts = Readonly<Record<string, Lift>>;

/** Size in bytes of an operand that has one. */
export function sizeOf(operand: OperandLift): number {
  if (operand.kind === 'target') throw new Error('a branch target has no size');
  return operand.sizeBytes;
}
