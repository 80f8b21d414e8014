// A processor on an array of bytes, with hand-made descriptor tables and task state: for tests of control transfers.

import assert from 'node:assert/strict';
import { STATE, STATE_SIZE_BYTES } from '../../ir/guest-state.ts';
import { CR0, EFER } from '../../isa/control-registers.ts';
import { CpuState } from './cpu-state.ts';
import { GuestFault } from './guest-fault.ts';
import type { LinearMemory } from './linear-memory.ts';
import { SEGMENT, type TransferContext } from './transfer-context.ts';

export const GDT = 0x1000;
export const IDT = 0x2000;
export const TSS = 0x4000;
export const TSS2 = 0x5000;
export const LDT = 0x6000;
export const STACK = 0x8000;
export const STACK_RING0 = 0x9000;
export const STACK_IST1 = 0xa000;
export const RIP = 0x1234n;
export const NEXT_RIP = 0x1236n;

/** Selectors of the GDT below; add the RPL. */
export const SELECTOR = {
  code32: 0x08,
  data: 0x10,
  userCode32: 0x18,
  userData: 0x20,
  code64: 0x28,
  userCode64: 0x30,
  conforming: 0x38,
  tss: 0x40,
  ldt: 0x50,
  absent: 0x60,
  executeOnly: 0x68,
  readOnly: 0x70,
  expandDown: 0x78,
  gate: 0x80,
  code16: 0x90,
  tss2: 0x98,
  data16: 0xa0,
} as const;

export function descriptor(base: number, limit: number, access: number, flags: number): bigint {
  const low = (BigInt(base & 0xffff) << 16n) | BigInt(limit & 0xffff);
  const high = (base & 0xff00_0000) | (flags << 20) | (limit & 0xf_0000) | (access << 8) | ((base >>> 16) & 0xff);
  return (BigInt(high >>> 0) << 32n) | low;
}

/** Interrupt, trap, call or task gate; `count` is IST or the number of parameters. */
export function gate(selector: number, offset: number, access: number, count = 0): bigint {
  const high = (offset & 0xffff_0000) | (access << 8) | count;
  return (BigInt(high >>> 0) << 32n) | BigInt(((selector << 16) | (offset & 0xffff)) >>> 0);
}

const SIZE = 0x10_0000;

class ArrayMemory implements LinearMemory {
  /** The processor's state lies behind the array, so that one buffer holds both. */
  readonly view = new DataView(new ArrayBuffer(SIZE + STATE_SIZE_BYTES));
  /** Places are handed out directly, as in RAM; otherwise every access is a read() or write(). */
  isDirect = false;
  /** Linear page numbers (in the array) that fault on writes. */
  readonly readOnlyPages = new Set<number>();
  readonly userAccesses: boolean[] = [];
  writes = 0;

  private at(linear: bigint): number {
    return Number(linear & BigInt(SIZE - 1));
  }

  read(linear: bigint, sizeBytes: number, _user: boolean): bigint {
    let value = 0n;
    for (let i = sizeBytes - 1; i >= 0; i--) {
      value = (value << 8n) | BigInt(this.view.getUint8(this.at(linear + BigInt(i))));
    }
    return value;
  }

  write(linear: bigint, sizeBytes: number, value: bigint, user: boolean): void {
    this.probeWrite(linear, sizeBytes, user);
    assert.equal(BigInt.asUintN(sizeBytes * 8, value), value, 'a value fits its size');
    this.writes++;
    for (let i = 0; i < sizeBytes; i++) {
      this.view.setUint8(this.at(linear + BigInt(i)), Number((value >> BigInt(8 * i)) & 0xffn));
    }
  }

  direct(low: number, high: number, sizeBytes: number, write: boolean, user: boolean): number {
    const linear = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    if (!this.isDirect || (low & 0xfff) + sizeBytes > 4096) return 0;
    if (write) this.probeWrite(linear, sizeBytes, user);
    return this.at(linear);
  }

  probeWrite(linear: bigint, sizeBytes: number, user: boolean): void {
    this.userAccesses.push(user);
    for (const byte of [0, sizeBytes - 1]) {
      if (this.readOnlyPages.has(this.at(linear + BigInt(byte)) >>> 12)) throw new GuestFault(14, 2);
    }
  }
}

export class TestMachine implements TransferContext {
  readonly memory = new ArrayMemory();
  readonly cpu = new CpuState(this.memory.view.buffer, SIZE);
  modeRefreshes = 0;
  flagRefreshes = 0;
  nmiUnblocks = 0;
  taskTraps = 0;
  rip = RIP;
  next = NEXT_RIP;

  refreshMode(): void {
    this.modeRefreshes++;
  }
  refreshFlags(): void {
    this.flagRefreshes++;
  }
  refreshPrivilege(): void {
    this.modeRefreshes++;
  }
  currentRip(): bigint {
    return this.rip;
  }
  nextRip(): bigint {
    return this.next;
  }
  loadCr3(value: bigint): void {
    this.cpu.set(STATE.cr3, value);
  }
  nmiUnblocked(): void {
    this.nmiUnblocks++;
  }
  taskTrap(): void {
    this.taskTraps++;
  }

  setGdt(selector: number, ...values: bigint[]): void {
    values.forEach((value, i) => {
      this.memory.write(BigInt(GDT + (selector & 0xfff8) + 8 * i), 8, value, false);
    });
  }

  accessByte(selector: number): number {
    return this.memory.view.getUint8(GDT + (selector & 0xfff8) + 5);
  }

  /** A gate of the IDT, of 16 bytes in IA-32e mode. */
  setGate(vector: number, value: bigint, upper?: bigint): void {
    const size = upper === undefined ? 8 : 16;
    this.memory.write(BigInt(IDT + vector * size), 8, value, false);
    if (upper !== undefined) this.memory.write(BigInt(IDT + vector * size + 8), 8, upper, false);
  }

  /** `count` values of `sizeBytes` at RSP (or `at`), lowest first. */
  stack(sizeBytes: number, count: number, at: bigint = this.cpu.gpr(4)): bigint[] {
    return Array.from({ length: count }, (_, i) => this.memory.read(at + BigInt(i * sizeBytes), sizeBytes, false));
  }

  /** Puts values at RSP, lowest first. */
  fillStack(sizeBytes: number, values: readonly (bigint | number)[]): void {
    values.forEach((value, i) => {
      this.memory.write(this.cpu.gpr(4) + BigInt(i * sizeBytes), sizeBytes, BigInt(value), false);
    });
  }

  /** Loads CS and SS as a kernel of this mode has them at this level. */
  enterLevel(cpl: number, code: number, data: number): void {
    const dpl = cpl << 5;
    const long = code === SELECTOR.code64 || code === SELECTOR.userCode64;
    this.cpu.set32(STATE.cpl, cpl);
    const flat = { base: 0n, limit: 0xffff_ffff };
    this.cpu.setSegment(SEGMENT.CS, { ...flat, selector: code | cpl, attributes: (long ? 0xa09b : 0xc09b) | dpl });
    this.cpu.setSegment(SEGMENT.SS, { ...flat, selector: data | cpl, attributes: 0xc093 | dpl });
    for (const index of [SEGMENT.ES, SEGMENT.DS, SEGMENT.FS, SEGMENT.GS]) {
      this.cpu.setSegment(index, { ...flat, selector: SELECTOR.userData | 3, attributes: 0xc0f3 });
    }
  }
}

function withTables(): TestMachine {
  const machine = new TestMachine();
  const { cpu } = machine;
  cpu.eflags = 0x202;
  cpu.setGpr(4, BigInt(STACK));
  cpu.set(STATE.gdtrBase, BigInt(GDT));
  cpu.set32(STATE.gdtrLimit, 0xff);
  cpu.set(STATE.idtrBase, BigInt(IDT));
  cpu.set32(STATE.idtrLimit, 0xfff);
  machine.setGdt(SELECTOR.code32, descriptor(0, 0xfffff, 0x9b, 0xc));
  machine.setGdt(SELECTOR.data, descriptor(0, 0xfffff, 0x93, 0xc));
  machine.setGdt(SELECTOR.userCode32, descriptor(0, 0xfffff, 0xfb, 0xc));
  machine.setGdt(SELECTOR.userData, descriptor(0, 0xfffff, 0xf3, 0xc));
  machine.setGdt(SELECTOR.code64, descriptor(0, 0xfffff, 0x9b, 0xa));
  machine.setGdt(SELECTOR.userCode64, descriptor(0, 0xfffff, 0xfb, 0xa));
  machine.setGdt(SELECTOR.conforming, descriptor(0, 0xfffff, 0x9f, 0xc));
  machine.setGdt(SELECTOR.absent, descriptor(0, 0xfffff, 0x13, 0xc));
  machine.setGdt(SELECTOR.executeOnly, descriptor(0, 0xfffff, 0xf9, 0xc));
  machine.setGdt(SELECTOR.readOnly, descriptor(0x1000, 0xff, 0xf0, 0x4));
  machine.setGdt(SELECTOR.expandDown, descriptor(0, 0xfff, 0xf6, 0x4));
  machine.setGdt(SELECTOR.code16, descriptor(0, 0xffff, 0x9b, 0x0));
  machine.setGdt(SELECTOR.data16, descriptor(0, 0xffff, 0x93, 0x0));
  cpu.setSegment(SEGMENT.LDTR, { selector: 0, base: 0n, limit: 0, attributes: 0x10000 });
  return machine;
}

/** 32-bit protected mode at `cpl`, with a 32-bit TSS whose level 0 stack is STACK_RING0. */
export function protectedMachine(cpl = 0): TestMachine {
  const machine = withTables();
  const { cpu, memory } = machine;
  cpu.set(STATE.cr0, BigInt(CR0.PE));
  machine.setGdt(SELECTOR.tss, descriptor(TSS, 0x67, 0x8b, 0));
  cpu.setSegment(SEGMENT.TR, { selector: SELECTOR.tss, base: BigInt(TSS), limit: 0x67, attributes: 0x8b });
  memory.write(BigInt(TSS + 4), 4, BigInt(STACK_RING0), false);
  memory.write(BigInt(TSS + 8), 2, BigInt(SELECTOR.data), false);
  machine.enterLevel(
    cpl,
    cpl === 0 ? SELECTOR.code32 : SELECTOR.userCode32,
    cpl === 0 ? SELECTOR.data : SELECTOR.userData,
  );
  return machine;
}

/** IA-32e mode at `cpl`, in 64-bit code or with `code32` in compatibility mode. */
export function longMachine(cpl = 0, compatibility = false): TestMachine {
  const machine = withTables();
  const { cpu, memory } = machine;
  cpu.set(STATE.cr0, BigInt(CR0.PE | CR0.PG));
  cpu.set(STATE.efer, BigInt(EFER.LME | EFER.LMA | EFER.SCE));
  machine.setGdt(SELECTOR.tss, descriptor(TSS, 0x67, 0x8b, 0), 0n);
  cpu.setSegment(SEGMENT.TR, { selector: SELECTOR.tss, base: BigInt(TSS), limit: 0x67, attributes: 0x8b });
  memory.write(BigInt(TSS + 4), 8, BigInt(STACK_RING0), false);
  memory.write(BigInt(TSS + 0x24), 8, BigInt(STACK_IST1), false);
  const code = compatibility
    ? cpl === 0
      ? SELECTOR.code32
      : SELECTOR.userCode32
    : cpl === 0
      ? SELECTOR.code64
      : SELECTOR.userCode64;
  machine.enterLevel(cpl, code, cpl === 0 ? SELECTOR.data : SELECTOR.userData);
  return machine;
}

/** Real-address mode with the vector table at 0. */
export function realMachine(): TestMachine {
  const machine = withTables();
  const { cpu } = machine;
  cpu.set(STATE.cr0, 0x10n);
  cpu.set(STATE.idtrBase, 0n);
  cpu.set32(STATE.idtrLimit, 0x3ff);
  for (let index = 0; index <= SEGMENT.GS; index++) {
    cpu.setSegment(index, { selector: 0, base: 0n, limit: 0xffff, attributes: index === SEGMENT.CS ? 0x9b : 0x93 });
  }
  return machine;
}

/** Virtual-8086 mode with this IOPL; its stack is 0x700:0x1000. */
export function vm86Machine(iopl: number): TestMachine {
  const machine = protectedMachine(0);
  const { cpu } = machine;
  cpu.set32(STATE.cpl, 3);
  cpu.eflags = 0x2_0202 | (iopl << 12);
  for (let index = 0; index <= SEGMENT.GS; index++) {
    const selector = 0x700 + index * 0x10 - 0x20;
    cpu.setSegment(index, { selector, base: BigInt(selector << 4), limit: 0xffff, attributes: 0xf3 });
  }
  cpu.setGpr(4, 0x1000n);
  return machine;
}

/** Runs `action`, which must raise this exception and leave the processor's state as it was. */
export function assertFault(
  machine: TestMachine,
  vector: number,
  errorCode: number | undefined,
  action: () => void,
): void {
  const bytes = new Uint8Array(machine.cpu.view.buffer);
  const before = bytes.slice();
  assert.throws(action, (fault) => {
    assert.ok(fault instanceof GuestFault, String(fault));
    assert.deepEqual([fault.vector, fault.errorCode], [vector, errorCode]);
    return true;
  });
  assert.deepEqual(bytes, before, 'a fault changes nothing');
}
