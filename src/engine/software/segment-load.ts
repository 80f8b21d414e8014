// Loading segment registers, LDTR and TR; LAR, LSL, VERR, VERW; the check of an access against its segment
// (SDM volume 2, MOV, LLDT, LTR, LAR, LSL, VERR; volume 3, 6.2 to 6.7).

import { SEGMENT_FIELDS, segmentOffset } from '../../ir/guest-state.ts';
import { SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import {
  baseOf,
  descriptorAddress,
  dplOf,
  highOf,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isWithinLimit,
  isWritableData,
  limitOf,
  lowOf,
  markAccessed,
  readDescriptor,
  SYSTEM_TYPE,
  segmentLimit,
  selectorError,
  storeDescriptor,
  storeNull,
  storeReal,
  typeOf,
} from './descriptor.ts';
import {
  cplOf,
  generalProtection,
  invalidOpcode,
  is64BitCode,
  isCanonical,
  isLongMode,
  isProtected,
  notPresent,
  SEGMENT,
  stackFault,
  type TransferContext,
} from './transfer-context.ts';

/**
 * MOV, POP and Lxx to ES, SS, DS, FS or GS (`index` 0, 2 to 5). Throws #UD for CS, else #GP, #SS or #NP with the
 * selector, or #PF from the descriptor table.
 */
export function loadSegment(context: TransferContext, index: number, value: number): void {
  const selector = value & 0xffff;
  if (index === SEGMENT.CS || index > SEGMENT.GS) throw invalidOpcode();
  const { cpu } = context;
  if (!isProtected(cpu)) storeReal(cpu, index, selector);
  else if (isNull(selector)) loadNull(context, index, selector);
  else loadFromTable(context, index, selector);
  context.refreshMode();
}

function loadNull(context: TransferContext, index: number, selector: number): void {
  const { cpu } = context;
  if (index === SEGMENT.SS) {
    const cpl = cplOf(cpu);
    if (!is64BitCode(cpu) || cpl === 3 || (selector & 3) !== cpl) throw generalProtection(0);
  }
  storeNull(cpu, index, selector);
}

function loadFromTable(context: TransferContext, index: number, selector: number): void {
  const error = selectorError(selector);
  const descriptor = readDescriptor(context, selector);
  if (descriptor === undefined) throw generalProtection(error);
  const { low, high, address } = descriptor;
  const cpl = cplOf(context.cpu);
  const rpl = selector & 3;
  if (index === SEGMENT.SS) {
    if (rpl !== cpl || !isWritableData(high) || dplOf(high) !== cpl) throw generalProtection(error);
    if (!isPresent(high)) throw stackFault(error);
  } else {
    const reachable = isConforming(high) || Math.max(rpl, cpl) <= dplOf(high);
    if (!isReadable(high) || !reachable) throw generalProtection(error);
    if (!isPresent(high)) throw notPresent(error);
  }
  markAccessed(context, address, high);
  storeDescriptor(context.cpu, index, selector, low, high);
}

/** Throws #UD outside protected mode, #GP(0) unless CPL is 0. */
function checkSystem(context: TransferContext): void {
  if (!isProtected(context.cpu)) throw invalidOpcode();
  if (cplOf(context.cpu) !== 0) throw generalProtection(0);
}

interface SystemDescriptor {
  readonly address: bigint;
  readonly low: number;
  readonly high: number;
  readonly base: bigint;
}

/** An LDT or TSS descriptor of the GDT: 16 bytes in IA-32e mode (SDM volume 3, 3.5.2 and 9.2.3). */
function readSystemDescriptor(
  context: TransferContext,
  selector: number,
  types: readonly number[],
  fault: (errorCode: number) => unknown = generalProtection,
): SystemDescriptor {
  const { cpu, memory } = context;
  const error = selectorError(selector);
  const long = isLongMode(cpu);
  const address = (selector & 4) !== 0 ? -1n : descriptorAddress(cpu, selector, long ? 16 : 8);
  if (address < 0n) throw fault(error);
  const descriptor = memory.read(address, 8, false);
  const [low, high] = [lowOf(descriptor), highOf(descriptor)];
  if (!types.includes(typeOf(high))) throw fault(error);
  let base = BigInt(baseOf(low, high));
  if (long) {
    const upper = memory.read(address + 8n, 8, false);
    base |= BigInt(lowOf(upper)) << 32n;
    if ((highOf(upper) & 0x1f00) !== 0 || !isCanonical(base)) throw fault(error);
  }
  if (!isPresent(high)) throw fault === generalProtection ? notPresent(error) : fault(error);
  return { address, low, high, base };
}

function storeSystem(context: TransferContext, index: number, selector: number, descriptor: SystemDescriptor): void {
  const { low, high, base } = descriptor;
  context.cpu.setSegment(index, {
    selector,
    base,
    limit: limitOf(low, high),
    attributes: (high >>> 8) & 0xf0ff,
  });
}

/** LLDT. */
export function lldt(context: TransferContext, selector: number): void {
  checkSystem(context);
  if (isNull(selector)) storeNull(context.cpu, SEGMENT.LDTR, selector);
  else {
    storeSystem(context, SEGMENT.LDTR, selector, readSystemDescriptor(context, selector, [SYSTEM_TYPE.LDT]));
  }
}

/** LTR: the descriptor becomes busy. */
export function ltr(context: TransferContext, selector: number): void {
  checkSystem(context);
  if (isNull(selector)) throw generalProtection(0);
  const available = isLongMode(context.cpu)
    ? [SYSTEM_TYPE.TSS_AVAILABLE]
    : [SYSTEM_TYPE.TSS16_AVAILABLE, SYSTEM_TYPE.TSS_AVAILABLE];
  const descriptor = readSystemDescriptor(context, selector, available);
  const high = descriptor.high | 0x200;
  context.memory.write(descriptor.address + 5n, 1, BigInt((high >>> 8) & 0xff), false);
  storeSystem(context, SEGMENT.TR, selector, { ...descriptor, high });
}

const LAR_TYPES = [1, 2, 3, 4, 5, 9, 11, 12];
const LSL_TYPES = [1, 2, 3, 9, 11];
const LAR_TYPES_LONG = [2, 9, 11, 12];
const LSL_TYPES_LONG = [2, 9, 11];

/**
 * LAR (kind 0), LSL (1), VERR (2), VERW (3): access rights, limit, or 0n; -1n when the selector is refused and ZF is to
 * be cleared. Throws #UD outside protected mode.
 */
export function inspectSelector(context: TransferContext, kind: number, selector: number): bigint {
  const { cpu } = context;
  if (!isProtected(cpu)) throw invalidOpcode();
  const descriptor = readDescriptor(context, selector);
  if (descriptor === undefined) return -1n;
  const { low, high } = descriptor;
  const reachable = isConforming(high) || Math.max(selector & 3, cplOf(cpu)) <= dplOf(high);
  if (!reachable) return -1n;
  if (kind === 2) return isReadable(high) ? 0n : -1n;
  if (kind === 3) return isWritableData(high) ? 0n : -1n;
  const long = isLongMode(cpu);
  const types = kind === 0 ? (long ? LAR_TYPES_LONG : LAR_TYPES) : long ? LSL_TYPES_LONG : LSL_TYPES;
  if (typeOf(high) < 0x10 && !types.includes(typeOf(high))) return -1n;
  return BigInt(kind === 0 ? high & 0xf0_ff00 : limitOf(low, high));
}

/** Limit, type and usability of an access outside 64-bit code: #SS(0) through SS, #GP(0) through the others. */
export function checkSegment(
  context: TransferContext,
  index: number,
  offset: bigint,
  sizeBytes: number,
  write: boolean,
): void {
  const { cpu } = context;
  const attributes = cpu.attributes(index);
  let allowed = (attributes & SEGMENT_ATTRIBUTE.UNUSABLE) === 0;
  if (allowed && isProtected(cpu)) {
    // Bit 3: code, bit 1: writable data or readable code.
    const code = (attributes & 8) !== 0;
    const second = (attributes & 2) !== 0;
    allowed = write ? !code && second : !code || second;
  }
  if (!allowed || !isWithinLimit(Number(offset), sizeBytes, segmentLimit(cpu, index), attributes)) {
    throw index === SEGMENT.SS ? stackFault(0) : generalProtection(0);
  }
}

/** On a return to an outer level, data segments that it may not use become null (SDM volume 2, RET and IRET). */
export function dropInnerSegments(context: TransferContext, cpl: number): void {
  const { cpu } = context;
  for (let index = 0; index <= SEGMENT.GS; index++) {
    if (index === SEGMENT.CS || index === SEGMENT.SS) continue;
    const attributes = cpu.view.getUint32(cpu.offset + segmentOffset(index) + SEGMENT_FIELDS.attributes, true);
    if ((attributes & SEGMENT_ATTRIBUTE.UNUSABLE) !== 0) continue;
    const conforming = (attributes & 0xc) === 0xc;
    if (!conforming && ((attributes >>> SEGMENT_ATTRIBUTE.DPL_SHIFT) & 3) < cpl) storeNull(cpu, index, 0);
  }
}
