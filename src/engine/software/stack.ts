// A stack that control transfers push to and pop from: the current one or one about to be loaded. Pushes are checked at
// once and written by commit(), so that a fault leaves everything as it was (SDM volume 3, 6.8.5 and 7.12.1).

import { GPR } from '../../isa/registers.ts';
import { SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import type { CpuState } from './cpu-state.ts';
import { isWithinLimit, segmentBase, segmentLimit } from './descriptor.ts';
import {
  ALL_ONES,
  cplOf,
  is64BitCode,
  isCanonical,
  LOW_32,
  SEGMENT,
  stackFault,
  type TransferContext,
} from './transfer-context.ts';

export interface StackSegment {
  readonly base: bigint;
  readonly limit: number;
  readonly attributes: number;
}

export class Stack {
  /** RSP as it will be. */
  pointer: bigint;
  readonly #context: TransferContext;
  /** undefined: 64-bit addressing. */
  readonly #segment: StackSegment | undefined;
  readonly #mask: bigint;
  readonly #user: boolean;
  /** Of the #SS that an access outside the segment raises. */
  readonly #errorCode: number;
  readonly #writes: { linear: bigint; sizeBytes: number; value: bigint }[] = [];

  constructor(
    context: TransferContext,
    segment: StackSegment | undefined,
    pointer: bigint,
    user: boolean,
    errorCode: number,
  ) {
    this.#context = context;
    this.#segment = segment;
    this.#mask = stackMask(segment?.attributes);
    this.pointer = pointer;
    this.#user = user;
    this.#errorCode = errorCode;
  }

  /** The stack of the running code. */
  static current(context: TransferContext, errorCode = 0): Stack {
    const { cpu } = context;
    if (!is64BitCode(cpu)) return Stack.ofSegment(context, errorCode);
    return new Stack(context, undefined, cpu.gpr(GPR.RSP), cplOf(cpu) === 3, errorCode);
  }

  /** SS:RSP as code outside 64-bit mode addresses it. */
  static ofSegment(context: TransferContext, errorCode = 0): Stack {
    const { cpu } = context;
    const segment = {
      base: segmentBase(cpu, SEGMENT.SS),
      limit: segmentLimit(cpu, SEGMENT.SS),
      attributes: cpu.attributes(SEGMENT.SS),
    };
    return new Stack(context, segment, cpu.gpr(GPR.RSP), cplOf(cpu) === 3, errorCode);
  }

  /** Linear address of `offset`, checked for `sizeBytes`. */
  linear(offset: bigint, sizeBytes: number): bigint {
    const segment = this.#segment;
    if (segment === undefined) {
      const last = (offset + BigInt(sizeBytes - 1)) & ALL_ONES;
      if (!isCanonical(offset) || !isCanonical(last)) throw stackFault(this.#errorCode);
      return offset;
    }
    const masked = offset & this.#mask;
    if (!isWithinLimit(Number(masked), sizeBytes, segment.limit, segment.attributes)) throw stackFault(this.#errorCode);
    return (segment.base + masked) & LOW_32;
  }

  move(bytes: number): void {
    this.pointer = (this.pointer & ~this.#mask & ALL_ONES) | ((this.pointer + BigInt(bytes)) & this.#mask);
  }

  push(sizeBytes: number, value: bigint): void {
    this.move(-sizeBytes);
    const linear = this.linear(this.pointer & this.#mask, sizeBytes);
    this.#context.memory.probeWrite(linear, sizeBytes, this.#user);
    this.#writes.push({ linear, sizeBytes, value: BigInt.asUintN(sizeBytes * 8, value) });
  }

  read(offset: bigint, sizeBytes: number): bigint {
    return this.#context.memory.read(this.linear(offset & this.#mask, sizeBytes), sizeBytes, this.#user);
  }

  pop(sizeBytes: number): bigint {
    const value = this.read(this.pointer, sizeBytes);
    this.move(sizeBytes);
    return value;
  }

  /** Throws unless a push of `sizeBytes` from `offset` down could be written. */
  probe(offset: bigint, sizeBytes: number): void {
    this.#context.memory.probeWrite(this.linear(offset & this.#mask, sizeBytes), sizeBytes, this.#user);
  }

  /** Writes what was pushed so far. */
  flush(): void {
    for (const { linear, sizeBytes, value } of this.#writes) {
      this.#context.memory.write(linear, sizeBytes, value, this.#user);
    }
    this.#writes.length = 0;
  }

  /** Writes what was pushed, then RSP. Nothing of it can fault any more. */
  commit(): void {
    this.flush();
    setStackPointer(this.#context.cpu, this.pointer, this.#mask);
  }
}

/** The part of RSP that addresses a stack whose segment has these attributes; undefined: 64-bit code. */
export function stackMask(attributes: number | undefined): bigint {
  if (attributes === undefined) return ALL_ONES;
  return (attributes & SEGMENT_ATTRIBUTE.DB) !== 0 ? LOW_32 : 0xffffn;
}

/** Writes the part of RSP that the stack's address size covers; a write of ESP clears the upper half. */
export function setStackPointer(cpu: CpuState, value: bigint, mask: bigint): void {
  cpu.setGpr(GPR.RSP, mask === 0xffffn ? (cpu.gpr(GPR.RSP) & ~0xffffn & ALL_ONES) | (value & mask) : value & mask);
}
