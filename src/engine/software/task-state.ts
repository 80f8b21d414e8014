// What the current task-state segment gives without a task switch: stack pointers for inner privilege levels and for
// interrupts, and the I/O permission bitmap (SDM volume 3, 6.8.5, 7.14.5, 9.2.1, 9.7; volume 1, 19.5.2).

import { SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import {
  baseOf,
  type Descriptor,
  dplOf,
  isNull,
  isPresent,
  isWritableData,
  limitOf,
  linearOf,
  readDescriptor,
  segmentBase,
  segmentLimit,
  selectorError,
} from './descriptor.ts';
import { Stack, type StackSegment } from './stack.ts';
import {
  cplOf,
  generalProtection,
  invalidTss,
  ioplOf,
  isProtected,
  isVm86,
  SEGMENT,
  stackFault,
  type TransferContext,
} from './transfer-context.ts';

/** `sizeBytes` of the TSS at `offset`; #TS with TR's selector (plus `external`) beyond its limit. */
function readTss(context: TransferContext, offset: number, sizeBytes: number, external: number): bigint {
  const { cpu, memory } = context;
  if (offset + sizeBytes - 1 > segmentLimit(cpu, SEGMENT.TR)) {
    throw invalidTss(selectorError(cpu.selector(SEGMENT.TR)) | external);
  }
  return memory.read(linearOf(cpu, segmentBase(cpu, SEGMENT.TR), BigInt(offset)), sizeBytes, false);
}

/** RSP0 to RSP2 of a 64-bit TSS. */
export function readRsp(context: TransferContext, level: number, external: number): bigint {
  return readTss(context, 4 + 8 * level, 8, external);
}

/** IST1 to IST7 of a 64-bit TSS. */
export function readIst(context: TransferContext, index: number, external: number): bigint {
  return readTss(context, 28 + 8 * index, 8, external);
}

export interface InnerStack {
  readonly stack: Stack;
  readonly descriptor: Descriptor;
}

/** The stack that a 16- or 32-bit TSS names for an inner level: #TS or #SS with its selector if it cannot be used. */
export function innerStack(context: TransferContext, level: number, external: number): InnerStack {
  const wide = (context.cpu.attributes(SEGMENT.TR) & 8) !== 0;
  const [offset, step] = wide ? [4 + 8 * level, 4] : [2 + 4 * level, 2];
  const pointer = readTss(context, offset, step, external);
  const selector = Number(readTss(context, offset + step, 2, external));
  const error = selectorError(selector) | external;
  const descriptor = readDescriptor(context, selector);
  if (descriptor === undefined) throw invalidTss(isNull(selector) ? external : error);
  const { low, high } = descriptor;
  if ((selector & 3) !== level || dplOf(high) !== level || !isWritableData(high)) throw invalidTss(error);
  if (!isPresent(high)) throw stackFault(error);
  return { stack: new Stack(context, stackSegmentOf(low, high), pointer, level === 3, error), descriptor };
}

export function stackSegmentOf(low: number, high: number): StackSegment {
  return { base: BigInt(baseOf(low, high)), limit: limitOf(low, high), attributes: (high >>> 8) & 0xf0ff };
}

/**
 * IN, OUT, INS, OUTS on `sizeBytes` ports: allowed by CPL and IOPL, else by the TSS's bitmap, which alone decides in
 * virtual-8086 mode. Throws #GP(0).
 */
export function checkIoPermission(context: TransferContext, port: number, sizeBytes: number): void {
  const { cpu } = context;
  const vm86 = isVm86(cpu);
  if (!vm86 && (!isProtected(cpu) || cplOf(cpu) <= ioplOf(cpu))) return;
  const attributes = cpu.attributes(SEGMENT.TR);
  const limit = segmentLimit(cpu, SEGMENT.TR);
  const hasBitmap = (attributes & (SEGMENT_ATTRIBUTE.UNUSABLE | 8)) === 8 && limit >= 0x67;
  if (!hasBitmap) throw generalProtection(0);
  const at = Number(readTss(context, 0x66, 2, 0)) + (port >>> 3);
  // Two bytes are read whatever the port (SDM volume 1, 19.5.2).
  if (at + 1 > limit) throw generalProtection(0);
  const bits = Number(readTss(context, at, 2, 0)) >>> (port & 7);
  if ((bits & ((1 << sizeBytes) - 1)) !== 0) throw generalProtection(0);
}
