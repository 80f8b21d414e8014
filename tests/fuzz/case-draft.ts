// A case while it is being made: its instance's bytes, state and memory, and the addresses and values it may choose.

import type { OperandCode } from '../../src/isa/row.ts';
import { type FuzzMode, FXSAVE, type MachineState, type Patch, plainState } from '../oracle/fuzz-case.ts';
import { CODE_BASE, DATA_BASE, findSegment, PAGES } from '../oracle/layout.ts';
import type { Instance } from './assembler.ts';
import type { RandomSource } from './random-source.ts';
import { randomExtended, randomInteger } from './values.ts';

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

export const FLAG = { FIXED: 0x202n, STATUS: 0x8d5n, DF: 0x400n, ID: 0x20_0000n, NT: 0x4000n } as const;

const mask = (bytes: number) => (1n << BigInt(bytes * 8)) - 1n;

export function littleEndian(value: bigint, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) bytes[i] = Number((value >> BigInt(i * 8)) & 0xffn);
  return bytes;
}

/** A case while it is being made. */
export class CaseDraft {
  readonly random: RandomSource;
  readonly instance: Instance;
  readonly code: Uint8Array;
  readonly state: MachineState;
  readonly patches: Patch[] = [];
  readonly mode: FuzzMode;
  /** Linear address that the ModR/M or moffs operand reaches. */
  memoryTarget = 0n;
  /** Operands lie within the writable pages. */
  safeTargets = false;

  constructor(random: RandomSource, instance: Instance) {
    this.random = random;
    this.instance = instance;
    this.mode = instance.mode;
    this.code = instance.bytes.slice();
    this.state = plainState(instance.mode);
  }

  get wordBytes(): number {
    return this.mode === 64 ? 8 : 4;
  }

  setRegister(index: number, value: bigint): void {
    this.state.gpr[index] = BigInt.asUintN(this.wordBytes * 8, value);
  }

  /** Sets the low `sizeBytes` bytes only. */
  setLow(index: number, value: bigint, sizeBytes: number): void {
    const low = mask(sizeBytes);
    this.setRegister(index, (this.state.gpr[index]! & ~low) | (value & low));
  }

  segmentBase(segment: number): bigint {
    const { state } = this;
    if (this.mode === 64) return segment === 4 ? state.fsBase : segment === 5 ? state.gsBase : 0n;
    const selectors = [state.es, state.cs, state.ss, state.ds, state.fs, state.gs];
    return findSegment(selectors[segment]!).base;
  }

  /** Writes data for the instruction to find; what falls outside the layout's pages is dropped. */
  patch(linear: bigint, bytes: Uint8Array): void {
    for (const page of PAGES) {
      const offset = Number(BigInt.asIntN(64, BigInt(page.guestVirtual) - linear));
      const from = Math.max(offset, 0);
      const to = Math.min(offset + 4096, bytes.length);
      if (from < to) this.patches.push({ guestVirtual: Number(linear) + from, bytes: bytes.slice(from, to) });
    }
  }

  patchInteger(linear: bigint, value: bigint, sizeBytes: number): void {
    this.patch(linear, littleEndian(value, sizeBytes));
  }

  /** Gives the r/m operand an integer value, wherever it is. */
  setRm(value: bigint, sizeBytes: number): void {
    const { rm, memory, bytes } = this.instance;
    if (memory) {
      this.patchInteger(this.memoryTarget, value, sizeBytes);
      return;
    }
    const hasRex = this.mode === 64 && bytes.some((byte) => (byte & 0xf0) === 0x40);
    if (sizeBytes === 1 && rm >= 4 && rm < 8 && !hasRex) {
      const old = this.state.gpr[rm - 4]!;
      this.setRegister(rm - 4, (old & ~0xff00n) | ((value & 0xffn) << 8n));
    } else this.setLow(rm, value, sizeBytes);
  }

  fillImmediate(value: bigint, sizeBytes = this.instance.immediateBytes, at = 0): void {
    this.code.set(littleEndian(value, sizeBytes), this.instance.immediateOffset + at);
  }

  /** A linear address for an operand of `sizeBytes`: mostly within the data, sometimes at a page's edge or beyond. */
  chooseTarget(sizeBytes: number, alignment = Math.min(sizeBytes, 16)): bigint {
    const { random } = this;
    const size = Math.max(sizeBytes, 1);
    const aligned = (address: number) =>
      BigInt(random.chance(size >= 16 ? 0.9 : 0.7) ? address - (address % Math.max(alignment, 1)) : address);
    const near = (edge: number) => BigInt(edge - random.below(size + 1));
    const dice = this.safeTargets ? 0 : random.below(100);
    if (dice < 78) return aligned(DATA_BASE + 0x100 + random.below(0x1e00 - size));
    if (dice < 84) return near(DATA_BASE + 0x1000);
    if (dice < 88) return near(DATA_BASE + 0x2000);
    if (dice < 92) return near(DATA_BASE + 0x4000);
    if (dice < 94) return aligned(DATA_BASE + 0x4100 + random.below(0x700));
    if (dice < 96) return near(DATA_BASE);
    if (dice < 98) return aligned(DATA_BASE + 0x2800);
    return this.mode === 64 ? 0x8000_0000_0000_0000n + BigInt(random.below(0x10000)) : aligned(DATA_BASE + 0x900);
  }

  /** An offset within a segment that mostly holds code (or a breakpoint), outside the instruction itself. */
  chooseCodeOffset(): bigint {
    const { random, state } = this;
    const base = findSegment(state.cs).base;
    if (random.chance(0.06)) return BigInt.asUintN(this.wordBytes * 8, BigInt(DATA_BASE + 0x40) - base);
    if (random.chance(0.04) && this.mode === 64) return 0x8000_0000_0000_0000n | BigInt(random.u32());
    return BigInt(CODE_BASE + 0x100 + random.below(0x600)) - base;
  }
}

/** Bytes of memory that an operand code stands for; 16 where only the instruction knows. */
export function operandSize(code: OperandCode, operandBytes: number): number {
  const part = code.split('/').at(-1)!;
  const z = Math.min(operandBytes, 4);
  switch (part.slice(1)) {
    case 'b':
      return 1;
    case 'w':
    case 'wi':
      return 2;
    case 'd':
    case 'di':
    case 'sr':
    case 'ss':
      return 4;
    case 'q':
    case 'pi':
    case 'qi':
    case 'dr':
    case 'sd':
      return 8;
    case 'v':
    case 'y':
      return operandBytes;
    case 'z':
      return z;
    case 'p':
      return operandBytes + 2;
    case 'a':
      return operandBytes * 2;
    case 's':
    case 'er':
    case 'bcd':
      return 10;
    case 'e':
      return 28;
    case 'st':
      return 108;
    case 'stx':
      return 512;
    case 'xs':
      return 576;
    default:
      return 16;
  }
}

export function fillX87(random: RandomSource, fxsave: Uint8Array, flavour: 'extended' | 'integer'): void {
  const view = new DataView(fxsave.buffer, fxsave.byteOffset);
  const masks = random.chance(0.85) ? 0x3f : random.below(0x40);
  const precision = random.chance(0.6) ? 3 : random.pick([0, 2, 3, 3, 1]);
  const control = 0x40 | masks | (precision << 8) | (random.below(4) << 10) | (random.below(2) << 12);
  let flags = random.chance(0.3) ? random.below(0x80) : 0;
  if (random.chance(0.9)) flags &= masks | 0x40;
  const summary = flags & ~masks & 0x3f ? 0x8080 : 0;
  const status = flags | summary | (random.below(8) << 11) | (random.below(8) << 8) | (random.below(2) << 14);
  view.setUint16(FXSAVE.FCW, control, true);
  view.setUint16(FXSAVE.FSW, status, true);
  fxsave[FXSAVE.FTW] = random.chance(0.7) ? 0xff : random.below(256);
  let previous = 0n;
  for (let i = 0; i < 8; i++) {
    let value = flavour === 'extended' ? randomExtended(random) : (0xffffn << 64n) | randomInteger(random);
    if (random.chance(0.15)) value = previous;
    previous = value;
    fxsave.set(littleEndian(value, 10), FXSAVE.ST + i * 16);
  }
}
