// One engine with a guest around it that runs generated programs, and what such a run leaves behind.

import { createGuestMemory, GUEST_RAM_OFFSET, layoutVcpu } from '../../src/engine/software/layout.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import type { VcpuExit, VcpuHost } from '../../src/engine/vcpu.ts';
import { resetState, SEGMENT_ATTRIBUTE, type SegmentState, type VcpuState } from '../../src/engine/vcpu-state.ts';
import { STATE } from '../../src/ir/guest-state.ts';
import { CR0, CR4, EFER } from '../../src/isa/control-registers.ts';
import { resetMsrs } from '../../src/isa/cpuid/portable-msrs.ts';
import { MSR } from '../../src/isa/msrs.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { gateDescriptor, segmentDescriptor } from '../engine/descriptors.ts';
import { SEGMENT } from '../engine/guest.ts';
import { PageTables, PTE } from '../engine/page-tables.ts';
import { RandomSource } from '../fuzz/random-source.ts';
import { DelayedTranslation } from './delayed-translation.ts';
import {
  ALIAS,
  CODE_PAGES,
  DATA_PAGES,
  DEVICE_PHYSICAL,
  DIRECT,
  directAddress,
  FAR_ALIAS,
  HANDLER_WORD,
  PAGE,
  PLACE,
  RAM_BYTES,
  SECOND_STACK_PAGES,
  STACK_PAGES,
  VARIANT,
} from './guest-places.ts';
import { INTERRUPT, makeHandlers } from './handlers.ts';
import { codePhysical, type Image, VIRTUAL } from './program.ts';

const A = SEGMENT_ATTRIBUTE;
const TSS_SELECTOR = 0x40;
const HANDLERS = makeHandlers();

/** How an engine runs a program. */
export interface Mode {
  readonly name: string;
  /** Of SoftwareVcpuOptions. */
  readonly translateAfterSamples: number;
  readonly recordsBytes?: number;
  readonly codeCacheBytes?: number;
  /** Regions come from elsewhere, later. */
  readonly delayed?: boolean;
  /** Jumps from one poll to the next: by time a run could not be repeated. */
  readonly pollInterval: number;
  /** Features whose programs it leaves out. */
  readonly without?: string;
  /** At polls: interrupts, caches dropped, state taken out and put back. */
  readonly disturbed: boolean;
}

export const MODES = {
  interpreted: {
    name: 'interpreted',
    translateAfterSamples: Number.POSITIVE_INFINITY,
    pollInterval: 4096,
    disturbed: false,
  },
  first: { name: 'translated first', translateAfterSamples: 0, pollInterval: 4096, disturbed: false },
  firstDisturbed: { name: 'translated first, disturbed', translateAfterSamples: 0, pollInterval: 23, disturbed: true },
  mixed: { name: 'translated when warm', translateAfterSamples: 1, delayed: true, pollInterval: 11, disturbed: false },
  mixedDisturbed: {
    name: 'translated when warm, disturbed',
    translateAfterSamples: 1,
    delayed: true,
    pollInterval: 7,
    disturbed: true,
  },
  small: {
    name: 'translated first, little room',
    translateAfterSamples: 0,
    recordsBytes: 0x3_0000,
    // A single step for which the pool of records is full traps before it has run: the engine's run loop is at fault.
    without: 'steps',
    pollInterval: 4096,
    disturbed: false,
  },
  crowded: {
    name: 'translated first, little machine code',
    translateAfterSamples: 0,
    codeCacheBytes: 300_000,
    pollInterval: 29,
    disturbed: false,
  },
} as const satisfies Record<string, Mode>;

export interface Outcome {
  readonly exit: VcpuExit | { readonly kind: 'endless' } | { readonly kind: 'thrown'; readonly error: unknown };
  readonly state: VcpuState;
  readonly ram: Uint8Array;
  /** Of devices, in their order. */
  readonly accesses: readonly string[];
}

/** Jumps that a program may take before it counts as endless, and for which it is disturbed. */
const MAXIMUM_JUMPS = 300_000;

class ProgramHost implements VcpuHost {
  random = new RandomSource('');
  mode: Mode = MODES.interpreted;
  interruptible = false;
  /** Set by poll(): run() is to return. */
  endless = false;
  /** Of devices, in their order. */
  accesses: string[] = [];
  private jumps = 0;
  private pending = -1;
  private taskPriority = 0;
  pollNow: () => void = () => {};
  dropCode: () => void = () => {};

  begin(mode: Mode, seed: string, interruptible: boolean): void {
    this.mode = mode;
    this.random = new RandomSource(`${seed}/${mode.name}`);
    this.interruptible = interruptible;
    this.endless = false;
    this.accesses = [];
    this.jumps = 0;
    this.pending = -1;
    this.taskPriority = 0;
    // The first turn polls.
    this.pollNow();
  }

  poll(): boolean {
    this.jumps += this.mode.pollInterval;
    // Others count a little differently; they get more, so that only what the interpreter ends is compared.
    if (this.jumps > MAXIMUM_JUMPS * (this.mode === MODES.interpreted ? 1 : 10)) {
      this.endless = true;
      return true;
    }
    const { mode, random } = this;
    // Interrupts use up jumps too, nearly all where breakpoints make a turn of every instruction: the rest is the
    // program's alone.
    if (!mode.disturbed || this.jumps > MAXIMUM_JUMPS) return false;
    if (this.interruptible && random.chance(0.3)) this.pending = random.pick(Object.values(INTERRUPT));
    if (random.chance(0.02)) this.dropCode();
    return random.chance(0.1);
  }

  interruptPending(): boolean {
    return this.pending >= 0;
  }

  acknowledgeInterrupt(): number {
    const { pending } = this;
    this.pending = -1;
    return pending;
  }

  /** Each answer depends on how many accesses there were: one too many or too few shows. */
  private answer(what: string, at: number, sizeBytes: number): number {
    this.accesses.push(`${what} 0x${at.toString(16)}, ${sizeBytes} bytes`);
    return (Math.imul(this.accesses.length, 0x9e37_79b9) >>> 0) % 2 ** (sizeBytes * 8);
  }

  readPort(port: number, sizeBytes: number): number {
    return this.answer('in', port, sizeBytes);
  }

  writePort(port: number, sizeBytes: number, value: number): void {
    this.answer(`out of 0x${value.toString(16)} to`, port, sizeBytes);
  }

  readMmio(guestPhysical: number, sizeBytes: number): number {
    return this.answer('load from', guestPhysical, sizeBytes);
  }

  writeMmio(guestPhysical: number, sizeBytes: number, value: number): void {
    this.answer(`store of 0x${value.toString(16)} to`, guestPhysical, sizeBytes);
  }

  takeNmi(): boolean {
    return false;
  }

  getCr8(): number {
    return this.taskPriority;
  }

  setCr8(value: number): void {
    this.taskPriority = value;
  }

  readMsr(): bigint | undefined {
    return undefined;
  }

  writeMsr(): boolean {
    return false;
  }

  waitForInterrupt(): void {
    this.endless = true;
    this.pollNow();
  }

  readTsc(): number {
    return 0;
  }
}

export class ProgramGuest {
  readonly vcpu: SoftwareVcpu;
  readonly memory: GuestMemory;
  readonly mode: Mode;
  private readonly host = new ProgramHost();
  private readonly translation: DelayedTranslation | undefined;

  constructor(mode: Mode) {
    this.mode = mode;
    const memory = createGuestMemory(RAM_BYTES);
    const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
    if (mode.delayed) this.translation = new DelayedTranslation(memory, () => this.host.random);
    this.vcpu = new SoftwareVcpu({
      memory,
      ramBytes: RAM_BYTES,
      host: this.host,
      cpuid,
      translateAfterSamples: mode.translateAfterSamples,
      pollInterval: mode.pollInterval,
      ...(this.translation === undefined ? {} : { translation: this.translation }),
      ...(mode.recordsBytes === undefined ? {} : { recordsBytes: mode.recordsBytes }),
      ...(mode.codeCacheBytes === undefined ? {} : { codeCacheBytes: mode.codeCacheBytes }),
    });
    this.memory = new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES);
    const view = new DataView(memory.buffer);
    const budget = layoutVcpu(0, 1).stateOffset + STATE.budget.offset;
    this.host.pollNow = () => view.setInt32(budget, 0, true);
    this.host.dropCode = () => {
      const { random } = this.host;
      const page = random.below(CODE_PAGES);
      this.vcpu.invalidateCode(PLACE.CODE + page * PAGE, PAGE * (1 + random.below(CODE_PAGES - page)));
    };
  }

  run(image: Image): Outcome {
    const { vcpu, host, mode } = this;
    const start = prepare(this.memory, image);
    vcpu.invalidateCode(0, RAM_BYTES);
    vcpu.setState(start);
    // Nothing is left of what ran before: a program does the same when it runs alone.
    vcpu.code.full = true;
    host.begin(mode, image.program.name, image.program.interrupts);
    // The state that goes in and out has no room for a debug trap that is yet to be taken.
    const portable = !image.program.features.some((feature) => feature === 'steps' || feature === 'control');
    let exit: Outcome['exit'];
    try {
      exit = vcpu.run();
      while (exit.kind === 'interrupted' && !host.endless) {
        if (portable && host.random.chance(0.5)) vcpu.setState(vcpu.getState());
        exit = vcpu.run();
      }
    } catch (error) {
      exit = { kind: 'thrown', error };
    }
    if (host.endless) exit = { kind: 'endless' };
    const ram = this.memory.bytes(0, RAM_BYTES).slice();
    ram.fill(0, PLACE.VOLATILE, PLACE.VOLATILE_END);
    const state = vcpu.getState();
    this.endTranslation();
    return { exit, state, ram, accesses: host.accesses };
  }

  /** Lets nothing that is on its way reach the next program. */
  private endTranslation(): void {
    this.translation?.answerAtOnce(true);
    while (this.translation?.isIdle === false) this.vcpu.translator.collect();
    this.translation?.answerAtOnce(false);
  }
}

/** Fills RAM and gives the state to begin with. */
function prepare(memory: GuestMemory, image: Image): VcpuState {
  const { program } = image;
  memory.bytes(0, RAM_BYTES).fill(0);
  writeTables(memory);
  const root = mapPages(memory, image, PLACE.PAGE_TABLES, false);
  mapPages(memory, image, PLACE.SECOND_PAGE_TABLES, true);
  for (let page = 0; page < CODE_PAGES; page++) {
    const bytes = image.code.subarray(page * PAGE, (page + 1) * PAGE);
    memory.write(PLACE.CODE + program.codeOrder[page]! * PAGE, bytes);
    memory.write(PLACE.CODE_VARIANT + program.codeOrder[page]! * PAGE, bytes);
  }
  for (const offset of image.varied) {
    const at = codePhysical(program, offset) ^ VARIANT;
    memory.writeU8(at, memory.readU8(at) + 1);
  }
  memory.write(PLACE.DATA, program.data);
  memory.write(
    PLACE.DATA_VARIANT,
    program.data.map((byte, k) => byte ^ (k & 0x11)),
  );
  image.table.forEach((address, k) => {
    memory.writeU64(PLACE.TABLE + k * 8, BigInt.asUintN(64, address));
  });
  for (let at = 0; at < PAGE; at += 8) {
    memory.writeU64(PLACE.CONSTANTS + at, BigInt.asUintN(64, 0x9e37_79b9_7f4a_7c15n * BigInt(at + 1)));
  }
  const word = PLACE.HANDLER_DATA;
  memory.writeU64(word + HANDLER_WORD.next, directAddress(PLACE.LOG));
  memory.writeU64(word + HANDLER_WORD.end, directAddress(PLACE.LOG_END - 512));
  memory.writeU64(word + HANDLER_WORD.stepsLeft, 300n);
  return startState(image, root);
}

function writeTables(memory: GuestMemory): void {
  for (const segment of Object.values(SEGMENT)) {
    memory.writeU64(PLACE.GDT + (segment.selector & ~7), segmentDescriptor(segment));
  }
  const task = segmentDescriptor(taskSegment());
  memory.writeU64(PLACE.GDT + TSS_SELECTOR, task);
  memory.writeU64(PLACE.GDT + TSS_SELECTOR + 8, directAddress(PLACE.TSS) >> 32n);
  memory.write(PLACE.HANDLERS, HANDLERS.code);
  for (const [vector, { offset, ist, dpl }] of HANDLERS.vectors) {
    const fields = { selector: SEGMENT.kernelCode.selector, offset: directAddress(PLACE.HANDLERS + offset), type: 14 };
    gateDescriptor({ ...fields, dpl, ist }).forEach((word, i) => {
      memory.writeU64(PLACE.IDT + vector * 16 + i * 8, word);
    });
  }
  memory.writeU64(PLACE.TSS + 4, directAddress(PLACE.RSP0));
  memory.writeU64(PLACE.TSS + 0x24, directAddress(PLACE.VOLATILE_END));
  memory.writeU64(PLACE.TSS + 0x2c, directAddress(PLACE.IST2));
  memory.writeU64(PLACE.TSS + 0x34, directAddress(PLACE.IST3));
  memory.writeU16(PLACE.TSS + 0x66, 0x68);
}

function taskSegment(): SegmentState {
  return { selector: TSS_SELECTOR, base: directAddress(PLACE.TSS), limit: 0x67, attributes: A.P | 0xb };
}

/** Gives the root. The second address space and the far alias have variants of some code pages. */
function mapPages(memory: GuestMemory, image: Image, firstTable: number, second: boolean): number {
  const { program } = image;
  const tables = new PageTables(memory, firstTable);
  const user = program.user || program.features.includes('privilege') ? PTE.U : 0n;
  tables.map(DIRECT, 0, PTE.W | PTE.A | PTE.D, 2);
  for (const window of [0, ALIAS, FAR_ALIAS]) {
    const map = (offset: number, physical: number, flags: bigint) => {
      const rights = program.supervisorPages.includes(offset / PAGE) ? flags : flags | user;
      tables.map(BigInt.asUintN(64, program.base + BigInt(offset + window)), physical, rights);
    };
    const varied = (page: number) => (second && page % 2 === 1) || (window === FAR_ALIAS && page % 4 === 2);
    for (let page = 0; page < CODE_PAGES; page++) {
      const own = PLACE.CODE + program.codeOrder[page]! * PAGE;
      map(page * PAGE, varied(page) ? own ^ VARIANT : own, PTE.W);
    }
    for (let page = 0; page < DATA_PAGES; page++) {
      map(VIRTUAL.data + page * PAGE, PLACE.DATA + program.dataOrder[page]! * PAGE, PTE.W);
    }
    // Accessed already: in which address space a global page is looked up again depends on what a TLB still holds.
    map(VIRTUAL.table, PLACE.TABLE, PTE.NX | PTE.G | PTE.A);
    map(VIRTUAL.constants, PLACE.CONSTANTS, PTE.NX | PTE.G | PTE.A);
    map(VIRTUAL.device, DEVICE_PHYSICAL, PTE.W | PTE.NX);
    for (let page = 0; page < STACK_PAGES; page++) {
      map(VIRTUAL.stack + page * PAGE, PLACE.STACK + page * PAGE, PTE.W);
    }
    for (let page = 1; page <= SECOND_STACK_PAGES; page++) {
      map(VIRTUAL['second-stack-top'] - page * PAGE, PLACE.SECOND_STACK + page * PAGE, PTE.W);
    }
  }
  return tables.root;
}

function startState(image: Image, root: number): VcpuState {
  const { program } = image;
  const state = resetState();
  state.msrs = resetMsrs();
  const { user } = program;
  for (const name of ['ds', 'es', 'fs', 'gs'] as const) {
    state.segments[name] = { ...(user ? SEGMENT.userData : SEGMENT.kernelData) };
  }
  state.segments.fs.base = BigInt.asUintN(64, program.base + BigInt(VIRTUAL.data + 0x1000));
  state.segments.gs.base = BigInt.asUintN(64, program.base + BigInt(VIRTUAL.data + 0x2004));
  state.segments.cs = { ...(user ? SEGMENT.userCode64 : SEGMENT.kernelCode) };
  state.segments.ss = { ...(user ? SEGMENT.userData : SEGMENT.kernelData) };
  state.segments.tr = taskSegment();
  state.segments.ldtr = { selector: 0, base: 0n, limit: 0, attributes: A.UNUSABLE };
  state.gdtr = { base: directAddress(PLACE.GDT), limit: 0xff };
  state.idtr = { base: directAddress(PLACE.IDT), limit: 0xfff };
  state.msrs.set(MSR.IA32_STAR, 0x001b_0008_0000_0000n);
  state.msrs.set(MSR.IA32_LSTAR, directAddress(PLACE.HANDLERS + HANDLERS.syscall));
  state.msrs.set(MSR.IA32_FMASK, 0x4_0700n);
  state.cr0 = BigInt((CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG) >>> 0);
  state.cr3 = BigInt(root) | (program.pcid ? 1n : 0n);
  state.cr4 = BigInt(CR4.PAE | CR4.PGE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.OSXSAVE | CR4.FSGSBASE);
  if (program.pcid) state.cr4 |= BigInt(CR4.PCIDE);
  state.efer = BigInt(EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE);
  state.xcr0 = 3n;
  state.rip = BigInt.asUintN(64, image.entry);
  state.rflags = program.rflags | 2n | (program.interrupts ? 0x200n : 0n);
  state.gpr = [...program.registers];
  state.gpr[4] = BigInt.asUintN(64, program.base + BigInt(VIRTUAL['stack-top'] - 64));
  state.xsave.set(program.xmm, 160);
  new DataView(state.xsave.buffer).setUint32(24, program.mxcsr, true);
  // Components that the area holds: without its bit a component is in its initial state.
  state.xsave[512] = 3;
  return state;
}
