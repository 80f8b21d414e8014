// What single steps on KVM cannot intercept: an exception is delivered to the guest's handler. It is recognized there,
// by its gate in the IDT (SDM volume 3, 6.11 and 6.14), so that the step can be undone and the exception told.

import { CR0, DR6, EFER } from '../../isa/control-registers.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { VECTOR } from '../../isa/vectors.ts';
import type { VcpuState } from '../vcpu-state.ts';

export interface DeliveredException {
  readonly vector: number;
  readonly errorCode: number | undefined;
}

/** Bytes at a linear address; fewer where it is not mapped. */
export type ReadLinear = (linear: bigint, lengthBytes: number) => Uint8Array;

const EXCEPTION_VECTORS = 32;
const HLT = 0xf4;
const WITH_ERROR_CODE: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17, 21]);
const PREFIXES: ReadonlySet<number> = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);
/** INT3, INT n, INTO, INT1. */
const SOFTWARE_INTERRUPTS: ReadonlySet<number> = new Set([0xcc, 0xcd, 0xce, 0xf1]);

/** Whether an instruction goes to a handler by its own will. */
export function isSoftwareInterrupt(bytes: Uint8Array): boolean {
  const opcode = bytes.find((byte) => !PREFIXES.has(byte) && (byte & 0xf0) !== 0x40);
  return opcode !== undefined && SOFTWARE_INTERRUPTS.has(opcode);
}

interface Gate {
  readonly selector: number;
  readonly offset: bigint;
}

function gateOf(state: VcpuState, vector: number, read: ReadLinear): Gate | undefined {
  const isLong = (state.efer & BigInt(EFER.LMA)) !== 0n;
  const isReal = (state.cr0 & BigInt(CR0.PE)) === 0n;
  const sizeBytes = isLong ? 16 : isReal ? 4 : 8;
  if (vector * sizeBytes + sizeBytes - 1 > state.idtr.limit) return undefined;
  const bytes = read(state.idtr.base + BigInt(vector * sizeBytes), sizeBytes);
  if (bytes.length < sizeBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isReal) return { selector: view.getUint16(2, true), offset: BigInt(view.getUint16(0, true)) };
  const low = view.getUint16(0, true) + view.getUint16(6, true) * 0x1_0000;
  const high = isLong ? view.getUint32(8, true) : 0;
  return { selector: view.getUint16(2, true), offset: (BigInt(high) << 32n) | BigInt(low) };
}

/** The exception whose handler `after` has come to: at its first instruction, or behind that where it is HLT. */
export function findDeliveredException(
  before: VcpuState,
  after: VcpuState,
  read: ReadLinear,
): DeliveredException | undefined {
  for (let vector = 0; vector < EXCEPTION_VECTORS; vector++) {
    const gate = gateOf(before, vector, read);
    if (gate === undefined) continue;
    const { selector } = after.segments.cs;
    if ((selector & ~3) !== (gate.selector & ~3)) continue;
    const isBehindHalt = after.rip === gate.offset + 1n && read(after.segments.cs.base + gate.offset, 1)[0] === HLT;
    if (after.rip !== gate.offset && !isBehindHalt) continue;
    const hasErrorCode = WITH_ERROR_CODE.has(vector) && (before.cr0 & BigInt(CR0.PE)) !== 0n;
    return { vector, errorCode: hasErrorCode ? readErrorCode(after, read) : undefined };
  }
  return undefined;
}

function readErrorCode(after: VcpuState, read: ReadLinear): number | undefined {
  const { cs, ss } = after.segments;
  const isLong = (cs.attributes & 0x2000) !== 0;
  const bytes = read(isLong ? after.gpr[4]! : ss.base + (after.gpr[4]! & 0xffff_ffffn), 4);
  return bytes.length < 4 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

/** RIP, CS, RFLAGS, RSP, SS. */
const LONG_FRAME_BYTES = 40;

/**
 * The state behind the instruction, where it was the step's own trap that came to the guest's handler of #DB: a KVM
 * that runs ring 3 without the processor's support may deliver it. undefined for anything else.
 */
export function undoStepTrap(before: VcpuState, after: VcpuState, read: ReadLinear): VcpuState | undefined {
  const ownTrap = (before.rflags & BigInt(EFLAGS.TF)) === 0n && (after.debug.dr6 & BigInt(DR6.BS)) !== 0n;
  const { cs, ss } = before.segments;
  if (!ownTrap || (cs.selector & 3) === 0 || (before.efer & BigInt(EFER.LMA)) === 0n) return undefined;
  if (findDeliveredException(before, after, read)?.vector !== VECTOR.DB) return undefined;
  const frame = read(after.gpr[4]!, LONG_FRAME_BYTES);
  if (frame.length < LONG_FRAME_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const word = (index: number): bigint => view.getBigUint64(8 * index, true);
  // A transfer to another segment is not undone: its descriptor would have to be read again.
  if (word(1) !== BigInt(cs.selector) || word(4) !== BigInt(ss.selector)) return undefined;
  const gpr = [...after.gpr];
  gpr[4] = word(3);
  return {
    ...after,
    gpr,
    rip: word(0),
    rflags: word(2) & ~BigInt(EFLAGS.TF),
    segments: { ...after.segments, cs, ss },
    debug: { ...after.debug, dr6: before.debug.dr6 },
    events: before.events,
  };
}
