// One fuzz case and its outcome, and their wire form between the fuzzer and oracle.c (little-endian, records of whole
// 8-byte words; the structures state, case_in and case_out of oracle.c).

import { SELECTOR } from './layout.ts';

export type FuzzMode = 64 | 32 | 16;

export const FXSAVE_BYTES = 512;

/** Offsets within an FXSAVE image (SDM 1 table 10-2). */
export const FXSAVE = {
  FCW: 0,
  FSW: 2,
  FTW: 4,
  FOP: 6,
  FIP: 8,
  FDP: 16,
  MXCSR: 24,
  MXCSR_MASK: 28,
  ST: 32,
  XMM: 160,
} as const;

export interface MachineState {
  /** rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15. */
  gpr: bigint[];
  rip: bigint;
  rflags: bigint;
  fsBase: bigint;
  gsBase: bigint;
  cs: number;
  ss: number;
  ds: number;
  es: number;
  fs: number;
  gs: number;
  /** FXSAVE64 image, 512 bytes. */
  fxsave: Uint8Array;
}

/** Bytes written over the layout's content before the case. */
export interface Patch {
  guestVirtual: number;
  bytes: Uint8Array;
}

export interface TestCase {
  mode: FuzzMode;
  /** The instruction's bytes, placed at the linear address of `state.rip`; breakpoints follow. */
  code: Uint8Array;
  state: MachineState;
  patches: Patch[];
}

/** 16 bytes at a 16-byte boundary that differ from the layout's content. */
export interface MemoryChange {
  guestVirtual: number;
  bytes: Uint8Array;
}

export interface Outcome {
  /** undefined: the instruction retired. */
  vector: number | undefined;
  errorCode: number;
  cr2: bigint;
  state: MachineState;
  /** In the order of the layout's pages. */
  changes: MemoryChange[];
}

/** The vector of an instruction that did not end. */
export const VECTOR_HANG = 254;
const VECTOR_BREAKPOINT = 3;

const STATE_BYTES = 20 * 8 + 16 + FXSAVE_BYTES;
const CASE_HEADER_BYTES = 8 + STATE_BYTES;
const OUTCOME_HEADER_BYTES = 24 + STATE_BYTES + 8;
const CHANGE_BYTES = 24;

/** Linear address of the first instruction byte. */
export function codeAddress(testCase: TestCase, codeSegmentBase: bigint): number {
  return Number(codeSegmentBase + testCase.state.rip);
}

function writeState(view: DataView, offset: number, state: MachineState): void {
  const words = [...state.gpr, state.rip, state.rflags, state.fsBase, state.gsBase];
  for (let i = 0; i < words.length; i++) view.setBigUint64(offset + i * 8, words[i]!, true);
  const selectors = [state.cs, state.ss, state.ds, state.es, state.fs, state.gs];
  for (let i = 0; i < selectors.length; i++) view.setUint16(offset + 160 + i * 2, selectors[i]!, true);
  new Uint8Array(view.buffer, view.byteOffset + offset + 176, FXSAVE_BYTES).set(state.fxsave);
}

function readState(view: DataView, offset: number): MachineState {
  const word = (i: number) => view.getBigUint64(offset + i * 8, true);
  const selector = (i: number) => view.getUint16(offset + 160 + i * 2, true);
  const start = view.byteOffset + offset + 176;
  return {
    gpr: Array.from({ length: 16 }, (_, i) => word(i)),
    rip: word(16),
    rflags: word(17),
    fsBase: word(18),
    gsBase: word(19),
    cs: selector(0),
    ss: selector(1),
    ds: selector(2),
    es: selector(3),
    fs: selector(4),
    gs: selector(5),
    fxsave: new Uint8Array(view.buffer.slice(start, start + FXSAVE_BYTES)),
  };
}

/** The record of one case; `codeGuestVirtual` is where its bytes lie. */
export function encodeCase(testCase: TestCase, codeGuestVirtual: number): Uint8Array {
  const patches = [...testCase.patches, { guestVirtual: codeGuestVirtual, bytes: testCase.code }];
  const padded = (length: number) => (length + 7) & ~7;
  const sizeBytes = patches.reduce((sum, patch) => sum + 16 + padded(patch.bytes.length), CASE_HEADER_BYTES);
  const record = new Uint8Array(sizeBytes);
  const view = new DataView(record.buffer);
  view.setUint32(0, sizeBytes, true);
  view.setUint32(4, patches.length, true);
  writeState(view, 8, testCase.state);
  let at = CASE_HEADER_BYTES;
  for (const patch of patches) {
    view.setBigUint64(at, BigInt(patch.guestVirtual), true);
    view.setUint32(at + 8, patch.bytes.length, true);
    record.set(patch.bytes, at + 16);
    at += 16 + padded(patch.bytes.length);
  }
  return record;
}

/** Size of the outcome record at the start of `bytes`, or undefined while it has not arrived. */
export function outcomeBytes(bytes: Uint8Array): number | undefined {
  if (bytes.length < 4) return undefined;
  const sizeBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return bytes.length < sizeBytes ? undefined : sizeBytes;
}

export function decodeOutcome(bytes: Uint8Array): Outcome {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const vector = view.getUint32(4, true);
  const state = readState(view, 24);
  const count = view.getUint32(24 + STATE_BYTES, true);
  const changes: MemoryChange[] = [];
  for (let i = 0; i < count; i++) {
    const at = OUTCOME_HEADER_BYTES + i * CHANGE_BYTES;
    changes.push({ guestVirtual: Number(view.getBigUint64(at, true)), bytes: bytes.slice(at + 8, at + 24) });
  }
  const retired = vector === VECTOR_BREAKPOINT;
  // The breakpoint's own byte has been executed.
  if (retired) state.rip = BigInt.asUintN(64, state.rip - 1n);
  return {
    vector: retired ? undefined : vector,
    errorCode: Number(view.getBigUint64(8, true)),
    cr2: view.getBigUint64(16, true),
    state,
    changes,
  };
}

/** A user-mode state with quiet defaults: FCW 0x37f, MXCSR 0x1f80, flat segments. */
export function plainState(mode: FuzzMode): MachineState {
  const fxsave = new Uint8Array(FXSAVE_BYTES);
  const view = new DataView(fxsave.buffer);
  view.setUint16(FXSAVE.FCW, 0x37f, true);
  view.setUint32(FXSAVE.MXCSR, 0x1f80, true);
  const data = mode === 64 ? 0 : mode === 32 ? SELECTOR.userData : SELECTOR.data16;
  return {
    gpr: new Array<bigint>(16).fill(0n),
    rip: 0n,
    rflags: 0x202n,
    fsBase: 0n,
    gsBase: 0n,
    cs: mode === 64 ? SELECTOR.userCode64 : mode === 32 ? SELECTOR.userCode32 : SELECTOR.code16,
    ss: mode === 16 ? SELECTOR.data16 : SELECTOR.userData,
    ds: data,
    es: data,
    fs: 0,
    gs: 0,
    fxsave,
  };
}
