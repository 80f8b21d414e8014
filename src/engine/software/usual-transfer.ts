// The usual control transfers of a system in IA-32e mode, between 64-bit code of CPL 0 and CPL 3 through a flat GDT:
// interrupts and exceptions, IRETQ, SYSCALL, SYSRET. In halves of 32 bits on words of memory, as they are as frequent
// as the guest's system calls and page faults. What is unusual gives false, with nothing changed: the general functions
// of interrupt-delivery.ts, interrupt-return.ts and system-call.ts do that.

import { RECORD } from '../../emit/record.ts';
import { gprOffset, SEGMENT_FIELDS, STATE, segmentOffset } from '../../ir/guest-state.ts';
import { EFER } from '../../isa/control-registers.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { GPR } from '../../isa/registers.ts';
import { EXCEPTION_VECTORS } from '../../isa/vectors.ts';
import type { CpuState } from './cpu-state.ts';
import { storeDescriptor, storeNull, writeSegment } from './descriptor.ts';
import { dropInnerSegments } from './segment-load.ts';
import { SEGMENT, type TransferContext } from './transfer-context.ts';

/** A field's place in words from the state's beginning. */
const word = (offset: number): number => offset >> 2;

const CPL = word(STATE.cpl.offset);
const CODE_SIZE = word(STATE.codeSize.offset);
const SYSTEM_FLAGS = word(STATE.systemFlags.offset);
const RIP = word(STATE.rip.offset);
const CURRENT_RECORD = word(STATE.record.offset);
const CODE_PAGE = word(STATE.codePage.offset);
const INSTRUCTION_LENGTH = word(STATE.instructionLength.offset);
const RSP = word(gprOffset(GPR.RSP));
const RCX = word(gprOffset(GPR.RCX));
const R11 = word(gprOffset(GPR.R11));
const IDTR_BASE = word(STATE.idtrBase.offset);
const IDTR_LIMIT = word(STATE.idtrLimit.offset);
const GDTR_BASE = word(STATE.gdtrBase.offset);
const GDTR_LIMIT = word(STATE.gdtrLimit.offset);
const EFER_LOW = word(STATE.efer.offset);
const DR7_LOW = word(STATE.dr7.offset);
const STAR_HIGH = word(STATE.star.offset) + 1;
const LSTAR = word(STATE.lstar.offset);
const SFMASK = word(STATE.sfmask.offset);
const CS_SELECTOR = word(segmentOffset(SEGMENT.CS) + SEGMENT_FIELDS.selector);
const SS_SELECTOR = word(segmentOffset(SEGMENT.SS) + SEGMENT_FIELDS.selector);
const TR_BASE = word(segmentOffset(SEGMENT.TR) + SEGMENT_FIELDS.base);
const TR_LIMIT = word(segmentOffset(SEGMENT.TR) + SEGMENT_FIELDS.limit);

/** Exceptions whose saved EFLAGS image has RF set. */
const SETS_RF = Uint8Array.from({ length: 256 }, (_, vector) =>
  EXCEPTION_VECTORS.some((v) => v.vector === vector && v.exceptionClass === 'fault') ? 1 : 0,
);

/** Bits of a code descriptor's high half that matter, and what 64-bit code has there: P, S, type, C, A, L, D. */
const CODE_MASK = 0x60_9d00;
const CODE64 = 0x20_9900;
/** The same of writable data that expands up: P, S, type, W, A. */
const DATA_MASK = 0x9b00;
const DATA = 0x9300;
const DPL_SHIFT = 13;
/** What POPF and IRET may change at CPL 0 with an operand of 4 or 8 bytes. */
const SYSTEM_RETURN_FLAGS = EFLAGS.TF | EFLAGS.DF | EFLAGS.NT | EFLAGS.AC | EFLAGS.ID | EFLAGS.IF | EFLAGS.IOPL;
/** System flags that SYSRET takes from R11: not RF and VM. */
const SYSRET_FLAGS = 0x3c_7700;

const notCanonical = (high: number): boolean => {
  const top = high >> 15;
  return top !== 0 && top !== -1;
};

/** IA-32e mode's 64-bit code. */
const is64Bit = (words: Int32Array, state: number): boolean =>
  words[state + CODE_SIZE] === 64 && (words[state + EFER_LOW]! & EFER.LMA) !== 0;

/** Word index of `sizeBytes` at base + offset in supervisor memory; 0 when they are not to be had directly. */
function wordAt(
  context: TransferContext,
  baseLow: number,
  baseHigh: number,
  offset: number,
  sizeBytes: number,
  write: boolean,
): number {
  const low = (baseLow + offset) | 0;
  const high = low >>> 0 < baseLow >>> 0 ? (baseHigh + 1) | 0 : baseHigh;
  if (notCanonical(high)) return 0;
  const host = context.memory.direct(low, high, sizeBytes, write, false);
  return (host & 3) === 0 ? host >>> 2 : 0;
}

/** Word index of a selector's descriptor in the GDT; 0 where it is none there. */
function descriptorAt(context: TransferContext, words: Int32Array, state: number, selector: number): number {
  const offset = selector & 0xfff8;
  if (offset === 0 || (selector & 4) !== 0 || offset + 7 > words[state + GDTR_LIMIT]! >>> 0) return 0;
  return wordAt(context, words[state + GDTR_BASE]!, words[state + GDTR_BASE + 1]!, offset, 8, false);
}

/**
 * Delivers an interrupt or exception to a 64-bit handler of CPL 0; `errorCode` is -1 for none. RIP is saved. Throws
 * GuestFault with nothing changed.
 */
export function deliverUsual(context: TransferContext, vector: number, errorCode: number, exception: boolean): boolean {
  const { cpu } = context;
  const { words } = cpu;
  const state = cpu.offset >> 2;
  if (!is64Bit(words, state)) return false;
  const cpl = words[state + CPL]!;
  if (vector * 16 + 15 > words[state + IDTR_LIMIT]! >>> 0) return false;
  const gate = wordAt(context, words[state + IDTR_BASE]!, words[state + IDTR_BASE + 1]!, vector * 16, 16, false);
  if (gate === 0) return false;
  const gateLow = words[gate]!;
  const gateHigh = words[gate + 1]!;
  // A present interrupt gate (14) or trap gate (15).
  if ((gateHigh & 0x9e00) !== 0x8e00) return false;
  const ripHigh = words[gate + 2]!;
  if (notCanonical(ripHigh)) return false;
  const selector = gateLow >>> 16;
  const code = descriptorAt(context, words, state, selector);
  if (code === 0) return false;
  const codeLow = words[code]!;
  const codeHigh = words[code + 1]!;
  if ((codeHigh & CODE_MASK) !== CODE64 || ((codeHigh >>> DPL_SHIFT) & 3) !== 0) return false;

  let rspLow = words[state + RSP]!;
  let rspHigh = words[state + RSP + 1]!;
  const [oldLow, oldHigh] = [rspLow, rspHigh];
  const ist = gateHigh & 7;
  if (ist !== 0 || cpl !== 0) {
    const offset = ist !== 0 ? 28 + 8 * ist : 4;
    if (offset + 7 > words[state + TR_LIMIT]! >>> 0) return false;
    const stack = wordAt(context, words[state + TR_BASE]!, words[state + TR_BASE + 1]!, offset, 8, false);
    if (stack === 0) return false;
    rspLow = words[stack]!;
    rspHigh = words[stack + 1]!;
  }
  rspLow &= ~15;
  const bottomLow = (rspLow - 48) | 0;
  // Within one page, so that it is canonical throughout.
  if (notCanonical(rspHigh) || (bottomLow & 0xfff) + 48 > 4096 || rspLow >>> 0 < 48) return false;
  const frame = wordAt(context, bottomLow, rspHigh, 0, 48, true);
  if (frame === 0) return false;

  const flags = cpu.eflags;
  words[frame + 10] = words[state + SS_SELECTOR]!;
  words[frame + 11] = 0;
  words[frame + 8] = oldLow;
  words[frame + 9] = oldHigh;
  words[frame + 6] = exception && SETS_RF[vector] === 1 ? flags | EFLAGS.RF : flags;
  words[frame + 7] = 0;
  words[frame + 4] = words[state + CS_SELECTOR]!;
  words[frame + 5] = 0;
  words[frame + 2] = words[state + RIP]!;
  words[frame + 3] = words[state + RIP + 1]!;
  if (errorCode !== -1) {
    words[frame] = errorCode;
    words[frame + 1] = 0;
  }
  words[state + RSP] = errorCode === -1 ? bottomLow + 8 : bottomLow;
  words[state + RSP + 1] = rspHigh;
  words[state + RIP] = (gateHigh & 0xffff_0000) | (gateLow & 0xffff);
  words[state + RIP + 1] = ripHigh;
  const cleared = EFLAGS.TF | EFLAGS.NT | EFLAGS.RF | EFLAGS.VM | ((gateHigh & 0x100) !== 0 ? 0 : EFLAGS.IF);
  words[state + SYSTEM_FLAGS] = words[state + SYSTEM_FLAGS]! & ~cleared;
  const target = selector & 0xfffc;
  if (target !== words[state + CS_SELECTOR]!) storeDescriptor(cpu, SEGMENT.CS, target, codeLow, codeHigh);
  if (cpl !== 0) {
    storeNull(cpu, SEGMENT.SS, 0);
    words[state + CPL] = 0;
  }
  context.refreshPrivilege();
  return true;
}

/** IRETQ of CPL 0 to 64-bit code. Throws GuestFault with nothing changed. */
export function returnUsual(context: TransferContext): boolean {
  const { cpu, memory } = context;
  const { words } = cpu;
  const state = cpu.offset >> 2;
  if (!is64Bit(words, state) || words[state + CPL] !== 0 || (words[state + DR7_LOW]! & 0xff) !== 0) return false;
  if ((words[state + SYSTEM_FLAGS]! & EFLAGS.NT) !== 0) return false;
  const rspLow = words[state + RSP]!;
  const rspHigh = words[state + RSP + 1]!;
  if (notCanonical(rspHigh) || (rspLow & 0xfff) + 40 > 4096 || (rspLow & 3) !== 0) return false;
  const frame = memory.direct(rspLow, rspHigh, 40, false, false) >>> 2;
  if (frame === 0) return false;
  const ripLow = words[frame]!;
  const ripHigh = words[frame + 1]!;
  const selector = words[frame + 2]! & 0xffff;
  const image = words[frame + 4]!;
  const newLow = words[frame + 6]!;
  const newHigh = words[frame + 7]!;
  const stackSelector = words[frame + 8]! & 0xffff;
  const rpl = selector & 3;
  if (notCanonical(ripHigh)) return false;

  const code = descriptorAt(context, words, state, selector);
  if (code === 0) return false;
  const codeLow = words[code]!;
  const codeHigh = words[code + 1]!;
  if ((codeHigh & CODE_MASK) !== CODE64 || ((codeHigh >>> DPL_SHIFT) & 3) !== rpl) return false;
  let stackLow = 0;
  let stackHigh = 0;
  const nullStack = (stackSelector & 0xfffc) === 0;
  if ((stackSelector & 3) !== rpl) return false;
  if (nullStack) {
    if (rpl === 3) return false;
  } else {
    const stack = descriptorAt(context, words, state, stackSelector);
    if (stack === 0) return false;
    stackLow = words[stack]!;
    stackHigh = words[stack + 1]!;
    if ((stackHigh & DATA_MASK) !== DATA || ((stackHigh >>> DPL_SHIFT) & 3) !== rpl) return false;
  }

  words[state + RIP] = ripLow;
  words[state + RIP + 1] = ripHigh;
  const sameCode = selector === words[state + CS_SELECTOR];
  if (!sameCode) storeDescriptor(cpu, SEGMENT.CS, selector, codeLow, codeHigh);
  if (!sameCode || stackSelector !== words[state + SS_SELECTOR]) {
    if (nullStack) storeNull(cpu, SEGMENT.SS, stackSelector);
    else storeDescriptor(cpu, SEGMENT.SS, stackSelector, stackLow, stackHigh);
  }
  words[state + RSP] = newLow;
  words[state + RSP + 1] = newHigh;
  if (rpl !== 0) {
    words[state + CPL] = rpl;
    dropInnerSegments(context, rpl);
  }
  const kept = words[state + SYSTEM_FLAGS]! & ~SYSTEM_RETURN_FLAGS;
  cpu.eflags = (image & ~0x3f_7700) | (image & SYSTEM_RETURN_FLAGS) | kept;
  context.refreshPrivilege();
  return true;
}

/** Flat segments of 4 GiB; the DPL is added. */
function loadFlat(cpu: CpuState, code: number, stack: number, cpl: number): void {
  writeSegment(cpu, SEGMENT.CS, code, 0, 0xffff_ffff, 0xa09b | (cpl << 5));
  writeSegment(cpu, SEGMENT.SS, stack, 0, 0xffff_ffff, 0xc093 | (cpl << 5));
  cpu.words[(cpu.offset >> 2) + CPL] = cpl;
}

/** SYSCALL in 64-bit code. */
export function syscallUsual(context: TransferContext): boolean {
  const { cpu } = context;
  const { words } = cpu;
  const state = cpu.offset >> 2;
  if (!is64Bit(words, state) || (words[state + EFER_LOW]! & EFER.SCE) === 0) return false;
  const flags = cpu.eflags & ~EFLAGS.RF;
  const record = words[state + CURRENT_RECORD]! >>> 0;
  const from = state + (record === 0 ? RIP : CODE_PAGE);
  const fromLow = words[from]!;
  const distance =
    record === 0
      ? words[state + INSTRUCTION_LENGTH]!
      : cpu.view.getUint16(record + RECORD.ip, true) + cpu.view.getUint8(record + RECORD.length);
  const nextLow = (fromLow + distance) | 0;
  words[state + RCX] = nextLow;
  words[state + RCX + 1] = words[from + 1]! + (nextLow >>> 0 < fromLow >>> 0 ? 1 : 0);
  words[state + R11] = flags;
  words[state + R11 + 1] = 0;
  const mask = words[state + SFMASK]!;
  // The arithmetic flags seldom are masked in full; then they are as they were.
  if ((mask & 0x8d5 & flags) === 0) words[state + SYSTEM_FLAGS] = flags & ~mask & 0x3f_7700;
  else cpu.eflags = flags & ~mask;
  const selector = words[state + STAR_HIGH]! & 0xfffc;
  loadFlat(cpu, selector, (selector + 8) & 0xffff, 0);
  words[state + RIP] = words[state + LSTAR]!;
  words[state + RIP + 1] = words[state + LSTAR + 1]!;
  context.refreshPrivilege();
  return true;
}

/** SYSRET with a 64-bit operand, of CPL 0 to a canonical address. */
export function sysretUsual(context: TransferContext): boolean {
  const { cpu } = context;
  const { words } = cpu;
  const state = cpu.offset >> 2;
  if (!is64Bit(words, state) || (words[state + EFER_LOW]! & EFER.SCE) === 0 || words[state + CPL] !== 0) return false;
  const ripHigh = words[state + RCX + 1]!;
  if (notCanonical(ripHigh)) return false;
  const base = words[state + STAR_HIGH]! >>> 16;
  const image = words[state + R11]!;
  cpu.eflags = image & (SYSRET_FLAGS | 0x8d5);
  loadFlat(cpu, ((base + 16) & 0xffff) | 3, ((base + 8) & 0xffff) | 3, 3);
  words[state + RIP] = words[state + RCX]!;
  words[state + RIP + 1] = ripHigh;
  context.refreshPrivilege();
  return true;
}
