// Compares what the processor did with what the engine did, bit for bit but for what undefined-results.ts excuses.

import { EFLAGS } from '../../src/isa/flags.ts';
import { VECTOR } from '../../src/isa/vectors.ts';
import { FXSAVE, type MemoryChange, type Outcome } from '../oracle/fuzz-case.ts';
import { PAGES, pageContent, SELECTOR } from '../oracle/layout.ts';
import type { GeneratedCase } from './generator.ts';
import { type Tolerance, toleranceOf } from './undefined-results.ts';

export interface Difference {
  readonly field: string;
  /** On the processor. */
  readonly expected: string;
  /** On the engine. */
  readonly actual: string;
}

const REGISTER_NAMES = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
const RSP = 4;
const PAGE_FAULT = VECTOR.PF;
const PRESENT = 1;
/** Linux reports faults on kernel addresses as if every page were present. */
const KERNEL_START = 0x7fff_ffff_f000n;

const { CF, PF, AF, ZF, SF, TF, IF, DF, OF, IOPL, NT, AC, ID } = EFLAGS;
/** RF differs by how a state was saved; VIF and VIP belong to virtual-8086 extensions. */
const COMPARED_FLAGS = CF | PF | AF | ZF | SF | TF | IF | DF | OF | IOPL | NT | AC | ID;

const hex = (value: bigint | number) => `0x${value.toString(16)}`;
const hexBytes = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function vectorName(outcome: Outcome): string {
  return outcome.vector === undefined ? 'retired' : `exception ${outcome.vector}`;
}

function isAccessFault({ vector }: Outcome): boolean {
  return vector === VECTOR.SS || vector === VECTOR.GP || vector === VECTOR.PF;
}

function normalErrorCode(outcome: Outcome): number {
  if (outcome.vector === PAGE_FAULT && outcome.cr2 >= KERNEL_START) return outcome.errorCode | PRESENT;
  return outcome.errorCode;
}

const baseContent = new Map(PAGES.map((page) => [page.guestVirtual, pageContent(page)]));

function contentOf(changes: readonly MemoryChange[]): Map<number, Uint8Array> {
  return new Map(changes.map((change) => [change.guestVirtual, change.bytes]));
}

function compareMemory(expected: Outcome, actual: Outcome, tolerance: Tolerance): Difference[] {
  const ours = contentOf(actual.changes);
  const theirs = contentOf(expected.changes);
  const differences: Difference[] = [];
  const addresses = [...new Set([...theirs.keys(), ...ours.keys()])].sort((a, b) => a - b);
  for (const address of addresses) {
    const page = baseContent.get(address & ~0xfff)!;
    const base = page.subarray(address & 0xfff, (address & 0xfff) + 16);
    const left = theirs.get(address) ?? base;
    const right = ours.get(address) ?? base;
    for (let i = 0; i < 16; i++) {
      if (left[i] === right[i]) continue;
      if (tolerance.memory.some(([start, end]) => address + i >= start && address + i < end)) continue;
      differences.push({ field: `memory ${hex(address)}`, expected: hexBytes(left), actual: hexBytes(right) });
      break;
    }
  }
  return differences;
}

function singlesClose(expected: Uint8Array, actual: Uint8Array, relativeError: number): boolean {
  const left = new DataView(expected.buffer, expected.byteOffset, 16);
  const right = new DataView(actual.buffer, actual.byteOffset, 16);
  for (let at = 0; at < 16; at += 4) {
    const a = left.getFloat32(at, true);
    const b = right.getFloat32(at, true);
    if (left.getUint32(at, true) === right.getUint32(at, true)) continue;
    if (!(Math.abs(a - b) <= Math.abs(a) * relativeError)) return false;
  }
  return true;
}

function extendedClose(expected: Uint8Array, actual: Uint8Array, ulps: number): boolean {
  const value = (bytes: Uint8Array) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
    return {
      head: view.getUint16(8, true),
      order: (BigInt(view.getUint16(8, true) & 0x7fff) << 63n) | (view.getBigUint64(0, true) & ~(1n << 63n)),
    };
  };
  const a = value(expected);
  const b = value(actual);
  const distance = a.order > b.order ? a.order - b.order : b.order - a.order;
  return a.head >> 15 === b.head >> 15 && distance <= BigInt(ulps);
}

/** The fields in which two outcomes of one case disagree. */
export function compareOutcomes(generated: GeneratedCase, expected: Outcome, actual: Outcome): Difference[] {
  const differences: Difference[] = [];
  const report = (field: string, left: string, right: string) => {
    if (left !== right) differences.push({ field, expected: left, actual: right });
  };
  const tolerance = toleranceOf(generated);
  if (!(tolerance.accessOrder && isAccessFault(expected) && isAccessFault(actual))) {
    report('outcome', vectorName(expected), vectorName(actual));
    if (expected.vector !== undefined && expected.vector === actual.vector) {
      report('error code', hex(normalErrorCode(expected)), hex(normalErrorCode(actual)));
      if (expected.vector === PAGE_FAULT) report('cr2', hex(expected.cr2), hex(actual.cr2));
    }
  }
  if (tolerance.everything && expected.vector === actual.vector) return differences;
  // The host may fault on the next instruction's fetch instead.
  const faulted = expected.vector !== undefined && expected.state.rip === generated.testCase.state.rip;

  // A fault leaves the flags as they were, the manual's undefined ones too.
  const flagsMask = BigInt(COMPARED_FLAGS & ~(faulted ? 0 : tolerance.flags));
  const left = expected.state;
  const right = actual.state;
  // The upper halves of registers are no part of a compatibility-mode state.
  const compatibility = generated.testCase.mode !== 64 || (left.cs | 3) !== SELECTOR.userCode64;
  const width = compatibility ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
  for (let i = 0; i < (compatibility ? 8 : 16); i++) {
    if (faulted && tolerance.partial && i !== RSP) continue;
    const compared = width & ~(tolerance.registers.get(i) ?? 0n);
    report(REGISTER_NAMES[i]!, hex(left.gpr[i]! & compared), hex(right.gpr[i]! & compared));
  }
  report('rip', hex(left.rip & width), hex(right.rip & width));
  report('rflags', hex(left.rflags & flagsMask), hex(right.rflags & flagsMask));
  // The return to user mode clears the requested privilege level of null selectors (SDM 2, IRET).
  const selector = (value: number) => hex(value <= 3 ? 0 : value);
  for (const name of ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const) {
    report(name, selector(left[name]), selector(right[name]));
  }
  report('fs base', hex(left.fsBase), hex(right.fsBase));
  report('gs base', hex(left.gsBase), hex(right.gsBase));

  compareFloatState(left.fxsave, right.fxsave, tolerance, report);
  if (!(faulted && tolerance.partial)) differences.push(...compareMemory(expected, actual, tolerance));
  return differences;
}

function compareFloatState(
  left: Uint8Array,
  right: Uint8Array,
  tolerance: Tolerance,
  report: (field: string, left: string, right: string) => void,
): void {
  // Equal images are the ordinary case.
  if (Buffer.compare(left.subarray(FXSAVE.ST, 416), right.subarray(FXSAVE.ST, 416)) !== 0) {
    for (let i = 0; i < 8; i++) {
      const at = FXSAVE.ST + i * 16;
      const a = left.subarray(at, at + 10);
      const b = right.subarray(at, at + 10);
      if (
        tolerance.extendedUlps > 0 &&
        extendedClose(left.subarray(at, at + 16), right.subarray(at, at + 16), tolerance.extendedUlps)
      )
        continue;
      report(`st${i}`, hexBytes(a), hexBytes(b));
    }
    for (let i = 0; i < 16; i++) {
      const a = left.subarray(FXSAVE.XMM + i * 16, FXSAVE.XMM + i * 16 + 16);
      const b = right.subarray(FXSAVE.XMM + i * 16, FXSAVE.XMM + i * 16 + 16);
      if (tolerance.singleError > 0 && singlesClose(a, b, tolerance.singleError)) continue;
      report(`xmm${i}`, hexBytes(a), hexBytes(b));
    }
  }
  const a = new DataView(left.buffer, left.byteOffset);
  const b = new DataView(right.buffer, right.byteOffset);
  const status = ~tolerance.statusWord & 0xffff;
  report('fcw', hex(a.getUint16(FXSAVE.FCW, true)), hex(b.getUint16(FXSAVE.FCW, true)));
  report('fsw', hex(a.getUint16(FXSAVE.FSW, true) & status), hex(b.getUint16(FXSAVE.FSW, true) & status));
  report('ftw', hex(left[FXSAVE.FTW]!), hex(right[FXSAVE.FTW]!));
  report('mxcsr', hex(a.getUint32(FXSAVE.MXCSR, true)), hex(b.getUint32(FXSAVE.MXCSR, true)));
}
