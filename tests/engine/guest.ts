// A hand-made guest for tests of paging, privilege and exceptions: descriptor tables, page tables, a handler that halts
// for every vector, and a processor put straight into the mode that a test wants.

import type { VcpuExit } from '../../src/engine/vcpu.ts';
import { resetState, SEGMENT_ATTRIBUTE, type SegmentState, type VcpuState } from '../../src/engine/vcpu-state.ts';
import { CR0, CR4, EFER } from '../../src/isa/control-registers.ts';
import { resetMsrs } from '../../src/isa/cpuid/portable-msrs.ts';
import { MSR } from '../../src/isa/msrs.ts';
import { gateDescriptor, segmentDescriptor } from './descriptors.ts';
import type { IdleHost } from './idle-host.ts';
import { PageTables, PTE } from './page-tables.ts';
import type { TestVcpu } from './vcpu-factory.ts';

export const RAM_BYTES = 0x40_0000;

/** Guest-physical; the low 2 MiB are mapped one to one for the supervisor, writable and executable. */
export const PLACE = {
  GDT: 0x1000,
  IDT: 0x2000,
  TSS: 0x3000,
  LDT: 0x3800,
  /** 16 bytes a vector, each beginning with HLT. */
  HANDLERS: 0x4000,
  KERNEL_CODE: 0x1_0000,
  KERNEL_DATA: 0x1_4000,
  /** Tops of stacks. */
  KERNEL_STACK: 0x1_8000,
  RSP0: 0x1_a000,
  IST1: 0x1_c000,
  USER_PAGES: 0x10_0000,
  PAGE_TABLES: 0x18_0000,
} as const;

/** Guest-virtual: user pages, each of 16 pages from USER_PAGES on. */
export const USER = { CODE: 0x40_0000, DATA: 0x40_4000, STACK: 0x40_a000 } as const;
export const USER_PAGE_COUNT = 16;

export function userPhysical(guestVirtual: number): number {
  return guestVirtual - USER.CODE + PLACE.USER_PAGES;
}

const A = SEGMENT_ATTRIBUTE;
const DPL3 = A.DPL_MASK;

const flat = (selector: number, attributes: number): SegmentState => ({
  selector,
  base: 0n,
  limit: 0xffff_ffff,
  attributes: A.P | A.S | A.G | attributes,
});

/** In the order that SYSCALL, SYSRET, SYSENTER and SYSEXIT want. */
export const SEGMENT = {
  kernelCode: flat(0x08, A.L | 0xb),
  kernelData: flat(0x10, A.DB | 0x3),
  userCode32: flat(0x1b, DPL3 | A.DB | 0xb),
  userData: flat(0x23, DPL3 | A.DB | 0x3),
  userCode64: flat(0x2b, DPL3 | A.L | 0xb),
  kernelCode32: flat(0x30, A.DB | 0xb),
  kernelCode16: { selector: 0x38, base: 0n, limit: 0xffff, attributes: A.P | A.S | 0xb },
  conformingCode: flat(0x60, A.L | 0xf),
  kernelData16: { selector: 0x68, base: 0n, limit: 0xffff, attributes: A.P | A.S | 0x3 },
} as const;

export const TSS_SELECTOR = 0x40;
export const CALL_GATE_SELECTOR = 0x50;
export const LDT_SELECTOR = 0x70;
/** Free for tests: 0x80 to 0xf8. */
export const FREE_SELECTOR = 0x80;
const GDT_LIMIT = 0xff;

export type GuestMode = 'kernel64' | 'user64' | 'user32' | 'kernel32' | 'real16';

export const REGISTERS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');

export class Guest {
  readonly host: IdleHost;
  readonly state: VcpuState;
  readonly tables: PageTables;
  readonly mode: GuestMode;
  private readonly target: TestVcpu;

  /** Wipes the RAM of `target` and prepares `mode` with `code` at its entry point; nothing runs yet. */
  constructor(target: TestVcpu, host: IdleHost, mode: GuestMode, code: Uint8Array) {
    this.target = target;
    this.host = host;
    this.mode = mode;
    host.interrupts.length = 0;
    host.nmiPending = false;
    host.stopRequested = false;
    host.interruptAtWait = undefined;
    target.memory.bytes(0, RAM_BYTES).fill(0);
    this.tables = new PageTables(target.memory, PLACE.PAGE_TABLES);
    this.state = resetState();
    this.state.msrs = resetMsrs();
    this.mapPages();
    this.writeTables();
    this.enterMode();
    const user = mode === 'user64' || mode === 'user32';
    target.memory.write(user ? PLACE.USER_PAGES : PLACE.KERNEL_CODE, code);
  }

  /** Where the code given begins: linear addresses of `mode` from here on are `entry + n`. */
  get entry(): number {
    return this.mode === 'user64' || this.mode === 'user32' ? USER.CODE : PLACE.KERNEL_CODE;
  }

  setControl(register: 'cr0' | 'cr4' | 'efer', bits: number, on: boolean): void {
    const mask = BigInt(bits >>> 0);
    this.state[register] = on ? this.state[register] | mask : this.state[register] & ~mask;
  }

  get memory(): TestVcpu['memory'] {
    return this.target.memory;
  }

  get vcpu(): TestVcpu['vcpu'] {
    return this.target.vcpu;
  }

  /** Hands `state` to the processor; call once, after all preparation. */
  start(): void {
    this.vcpu.invalidateCode(0, RAM_BYTES);
    this.vcpu.setState(this.state);
  }

  run(): VcpuExit {
    return this.vcpu.run();
  }

  setRegister(name: string, value: bigint): void {
    this.state.gpr[REGISTERS.indexOf(name)] = value;
  }

  /** Maps the page of `guestVirtual` with exactly `flags` (P included unless `flags` is 0: then it is not present). */
  remap(guestVirtual: number | bigint, flags: bigint, guestPhysical?: number): void {
    const page = BigInt(guestVirtual) & ~0xfffn;
    const entry = this.tables.entry(page, 1);
    const physical = guestPhysical ?? Number(this.memory.readU64(entry) & 0xf_ffff_ffff_f000n);
    this.memory.writeU64(entry, flags === 0n ? 0n : BigInt(physical) | flags | PTE.P);
  }

  entryValue(guestVirtual: number, level: 1 | 2 | 3 | 4): bigint {
    return this.memory.readU64(this.tables.entry(BigInt(guestVirtual), level));
  }

  setDescriptor(selector: number, segment: SegmentState): void {
    this.memory.writeU64(PLACE.GDT + (selector & ~7), segmentDescriptor(segment));
  }

  setGate(vector: number, fields: Partial<Parameters<typeof gateDescriptor>[0]>): void {
    const gate = gateDescriptor({
      selector: SEGMENT.kernelCode.selector,
      offset: BigInt(PLACE.HANDLERS + vector * 16),
      type: 14,
      dpl: vector === 3 || vector === 4 || vector === 0x80 ? 3 : 0,
      ...fields,
    });
    gate.forEach((word, i) => {
      this.memory.writeU64(PLACE.IDT + vector * 16 + i * 8, word);
    });
  }

  private mapPages(): void {
    for (let at = 0; at < 0x20_0000; at += 4096) this.tables.map(BigInt(at), at, PTE.W);
    for (let i = 0; i < USER_PAGE_COUNT; i++) {
      this.tables.map(BigInt(USER.CODE + i * 4096), PLACE.USER_PAGES + i * 4096, PTE.W | PTE.U);
    }
  }

  private writeTables(): void {
    const { memory, state } = this;
    for (const segment of Object.values(SEGMENT)) this.setDescriptor(segment.selector, segment);
    const task = { selector: TSS_SELECTOR, base: BigInt(PLACE.TSS), limit: 0x67, attributes: A.P | 0xb };
    const local = { selector: LDT_SELECTOR, base: BigInt(PLACE.LDT), limit: 0x3f, attributes: A.P | 0x2 };
    this.setDescriptor(TSS_SELECTOR, task);
    this.setDescriptor(LDT_SELECTOR, local);
    for (let vector = 0; vector < 256; vector++) {
      this.setGate(vector, {});
      memory.writeU8(PLACE.HANDLERS + vector * 16, 0xf4);
    }
    memory.writeU64(PLACE.TSS + 4, BigInt(PLACE.RSP0));
    memory.writeU64(PLACE.TSS + 0x24, BigInt(PLACE.IST1));
    memory.writeU16(PLACE.TSS + 0x66, 0x68);
    state.gdtr = { base: BigInt(PLACE.GDT), limit: GDT_LIMIT };
    state.idtr = { base: BigInt(PLACE.IDT), limit: 0xfff };
    state.segments.tr = task;
    state.segments.ldtr = { selector: 0, base: 0n, limit: 0, attributes: A.UNUSABLE };
    state.msrs.set(MSR.IA32_STAR, 0x001b_0008_0000_0000n);
    state.msrs.set(MSR.IA32_LSTAR, BigInt(PLACE.KERNEL_CODE + 0x800));
  }

  private enterMode(): void {
    const { state, mode } = this;
    const load = (cs: SegmentState, ss: SegmentState, data: SegmentState) => {
      for (const name of ['ds', 'es', 'fs', 'gs'] as const) state.segments[name] = { ...data };
      state.segments.cs = { ...cs };
      state.segments.ss = { ...ss };
    };
    if (mode === 'real16') {
      // RAM below 1 MiB; the entry point is 1000:0000.
      load(
        { selector: 0x1000, base: 0x1_0000n, limit: 0xffff, attributes: A.P | A.S | 0xb },
        { selector: 0x1000, base: 0x1_0000n, limit: 0xffff, attributes: A.P | A.S | 0x3 },
        { selector: 0x1400, base: 0x1_4000n, limit: 0xffff, attributes: A.P | A.S | 0x3 },
      );
      state.idtr = { base: 0n, limit: 0x3ff };
      state.segments.tr = { selector: 0, base: 0n, limit: 0xffff, attributes: A.P | 0xb };
      state.rip = 0n;
      state.gpr[4] = 0x8000n;
      // Vector n runs a HLT at 0400:n*16.
      for (let vector = 0; vector < 256; vector++) {
        this.memory.writeU32(vector * 4, 0x0400_0000 + vector * 16);
      }
      return;
    }
    if (mode === 'kernel32') {
      // Protected mode without paging.
      load(SEGMENT.kernelCode32, SEGMENT.kernelData, SEGMENT.kernelData);
      state.cr0 = BigInt(CR0.PE | CR0.MP | CR0.ET | CR0.NE);
      state.cr4 = BigInt(CR4.OSFXSR | CR4.OSXMMEXCPT);
      state.rip = BigInt(PLACE.KERNEL_CODE);
      state.gpr[4] = BigInt(PLACE.KERNEL_STACK);
      for (let vector = 0; vector < 256; vector++) {
        const offset = PLACE.HANDLERS + vector * 16;
        const words = [(SEGMENT.kernelCode32.selector << 16) | (offset & 0xffff), (offset & ~0xffff) | 0x8e00];
        words.forEach((word, i) => {
          this.memory.writeU32(PLACE.IDT + vector * 8 + i * 4, word);
        });
      }
      return;
    }
    if (mode === 'kernel64') {
      load(SEGMENT.kernelCode, SEGMENT.kernelData, SEGMENT.kernelData);
      state.rip = BigInt(PLACE.KERNEL_CODE);
      state.gpr[4] = BigInt(PLACE.KERNEL_STACK);
    } else {
      load(mode === 'user64' ? SEGMENT.userCode64 : SEGMENT.userCode32, SEGMENT.userData, SEGMENT.userData);
      state.rip = BigInt(USER.CODE);
      state.gpr[4] = BigInt(USER.STACK);
    }
    state.cr0 = BigInt((CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG) >>> 0);
    state.cr3 = BigInt(this.tables.root);
    state.cr4 = BigInt(CR4.PAE | CR4.PGE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.OSXSAVE | CR4.FSGSBASE);
    state.efer = BigInt(EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE);
    state.xcr0 = 3n;
  }
}
