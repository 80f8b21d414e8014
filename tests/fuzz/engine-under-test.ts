// Runs fuzz cases on an engine: a guest in long mode at CPL 3 whose page tables, GDT and LDT reproduce the oracle's
// address space. It uses the Vcpu contract alone, so that any engine can stand behind it.

import type { Vcpu } from '../../src/engine/vcpu.ts';
import { resetState, SEGMENT_ATTRIBUTE, type SegmentState, type VcpuState } from '../../src/engine/vcpu-state.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { segmentDescriptor } from '../engine/descriptors.ts';
import { PageTables, PTE } from '../engine/page-tables.ts';
import { codeAddress, type MemoryChange, type Outcome, type TestCase, VECTOR_HANG } from '../oracle/fuzz-case.ts';
import { findSegment, GDT_SEGMENTS, LDT_SEGMENTS, PAGE_BYTES, PAGES, pageContent } from '../oracle/layout.ts';

export const RAM_BYTES = 0x20_0000;

const GDT = 0x1000;
const LDT = 0x2000;
const TSS = 0x3000;
const LAYOUT_PAGES = 0x1_0000;
const PAGE_TABLES = 0x2_0000;
const KERNEL_VIRTUAL = 0xffff_ffff_8000_0000n;

const GDT_LIMIT = 0x7f;
const TSS_SELECTOR = 0x40;
const LDT_SELECTOR = 0x50;
const MAX_STEPS = 100_000;

const A = SEGMENT_ATTRIBUTE;
const system = (selector: number, guestPhysical: number, limit: number, type: number): SegmentState => ({
  selector,
  base: KERNEL_VIRTUAL + BigInt(guestPhysical),
  limit,
  attributes: A.P | type,
});
const TASK = system(TSS_SELECTOR, TSS, 0x67, 0xb);
const LOCAL_TABLE = system(LDT_SELECTOR, LDT, LDT_SEGMENTS.length * 8 - 1, 0x2);

const supervisor = (selector: number, attributes: number): SegmentState => ({
  selector,
  base: 0n,
  limit: 0xffff_ffff,
  attributes: A.P | A.S | A.G | attributes,
});
/** Linux's kernel segments, which user code can name but not load. */
const KERNEL_SEGMENTS = [supervisor(0x08, A.DB | 0xb), supervisor(0x10, A.L | 0xb), supervisor(0x18, A.DB | 0x3)];

const CR0 = 0x8005_0033n; // PG, AM, WP, NE, ET, MP, PE
const CR4 = 0x35_06a0n; // SMAP, SMEP, OSXSAVE, FSGSBASE, OSXMMEXCPT, OSFXSR, PGE, PAE
const EFER = 0xd01n; // NXE, LMA, LME, SCE

export class EngineUnderTest {
  private readonly vcpu: Vcpu;
  private readonly memory: GuestMemory;
  private readonly tables: PageTables;
  private readonly pages = PAGES.map((page, i) => {
    const content = pageContent(page);
    return { page, guestPhysical: LAYOUT_PAGES + i * PAGE_BYTES, content, buffer: Buffer.from(content.buffer) };
  });

  /** `memory` is RAM_BYTES of RAM, all of it the test's. */
  constructor(vcpu: Vcpu, memory: GuestMemory) {
    this.vcpu = vcpu;
    this.memory = memory;
    this.tables = new PageTables(memory, PAGE_TABLES);
    for (const { page, guestPhysical, content } of this.pages) {
      const flags = PTE.U | (page.writable ? PTE.W : 0n) | (page.executable ? 0n : PTE.NX);
      this.tables.map(BigInt(page.guestVirtual), guestPhysical, flags);
      memory.write(guestPhysical, content);
    }
    for (const guestPhysical of [GDT, LDT, TSS]) {
      this.tables.map(KERNEL_VIRTUAL + BigInt(guestPhysical), guestPhysical, PTE.W | PTE.NX);
      memory.bytes(guestPhysical, PAGE_BYTES).fill(0);
    }
    for (const segment of [...KERNEL_SEGMENTS, ...GDT_SEGMENTS, TASK, LOCAL_TABLE]) {
      memory.writeU64(GDT + (segment.selector & ~7), segmentDescriptor(segment));
    }
    for (const { selector, base } of [TASK, LOCAL_TABLE]) memory.writeU64(GDT + selector + 8, base >> 32n);
    LDT_SEGMENTS.forEach((segment, i) => {
      memory.writeU64(LDT + i * 8, segmentDescriptor(segment));
    });
    // The permission map lies beyond the task state's limit: every port is closed to CPL 3.
    memory.writeU16(TSS + 0x66, 0x68);
  }

  run(testCase: TestCase): Outcome {
    this.loadMemory(testCase);
    this.vcpu.setState(this.stateOf(testCase));
    const start = testCase.state.rip;
    let result = this.vcpu.step();
    let state = this.vcpu.getState();
    // A repeated string instruction may take a step for each turn.
    for (let steps = 1; result.kind === 'retired' && state.rip === start; steps++) {
      if (steps === MAX_STEPS) return this.outcome(VECTOR_HANG, 0, state);
      result = this.vcpu.step();
      state = this.vcpu.getState();
    }
    // The host meets a breakpoint, or the fault of a fetch from where there is none.
    if (result.kind === 'retired' && !this.isCode(state)) {
      result = this.vcpu.step();
      state = this.vcpu.getState();
    }
    switch (result.kind) {
      case 'retired':
        return this.outcome(undefined, 0, state);
      case 'exception':
        return this.outcome(result.vector, result.errorCode ?? 0, state);
      case 'exit':
        throw new Error(
          `the engine left with ${result.exit.kind}${'message' in result.exit ? `: ${result.exit.message}` : ''}`,
        );
    }
  }

  private isCode({ rip, segments }: VcpuState): boolean {
    const linear = segments.cs.attributes & A.L ? rip : (segments.cs.base + rip) & 0xffff_ffffn;
    const withinLimit = (segments.cs.attributes & A.L) !== 0 || rip <= BigInt(segments.cs.limit);
    return withinLimit && PAGES.some((page) => page.executable && linear >> 12n === BigInt(page.guestVirtual >> 12));
  }

  private loadMemory(testCase: TestCase): void {
    const code = codeAddress(testCase, findSegment(testCase.state.cs).base);
    for (const patch of [...testCase.patches, { guestVirtual: code, bytes: testCase.code }]) {
      let at = 0;
      while (at < patch.bytes.length) {
        const guestVirtual = patch.guestVirtual + at;
        const found = this.pages.find(({ page }) => page.guestVirtual === (guestVirtual & ~0xfff));
        if (found === undefined) throw new RangeError(`a patch outside the layout: 0x${guestVirtual.toString(16)}`);
        const part = patch.bytes.subarray(at, at + PAGE_BYTES - (guestVirtual & 0xfff));
        const guestPhysical = found.guestPhysical + (guestVirtual & 0xfff);
        this.memory.write(guestPhysical, part);
        if (found.page.executable) this.vcpu.invalidateCode(guestPhysical, part.length);
        at += part.length;
      }
    }
  }

  private stateOf({ mode, state }: TestCase): VcpuState {
    const result = resetState();
    const load = (selector: number) => ({ ...findSegment(selector) });
    const fs = load(state.fs);
    const gs = load(state.gs);
    if (mode === 64) {
      fs.base = state.fsBase;
      gs.base = state.gsBase;
    }
    result.gpr = [...state.gpr];
    result.rip = state.rip;
    result.rflags = state.rflags;
    result.segments = {
      es: load(state.es),
      cs: load(state.cs),
      ss: load(state.ss),
      ds: load(state.ds),
      fs,
      gs,
      ldtr: { ...LOCAL_TABLE },
      tr: { ...TASK },
    };
    result.gdtr = { base: KERNEL_VIRTUAL + BigInt(GDT), limit: GDT_LIMIT };
    result.idtr = { base: KERNEL_VIRTUAL, limit: 0 };
    result.cr0 = CR0;
    result.cr3 = BigInt(this.tables.root);
    result.cr4 = CR4;
    result.efer = EFER;
    result.xcr0 = 3n;
    result.xsave.set(state.fxsave);
    result.xsave[512] = 3;
    return result;
  }

  /** Collects what changed in the layout's pages and puts their content back. */
  private outcome(vector: number | undefined, errorCode: number, state: VcpuState): Outcome {
    const changes: MemoryChange[] = [];
    for (const { page, guestPhysical, content, buffer } of this.pages) {
      const now = this.memory.bytes(guestPhysical, PAGE_BYTES);
      if (buffer.equals(now)) continue;
      for (let at = 0; at < PAGE_BYTES; at += 16) {
        const piece = now.slice(at, at + 16);
        if (piece.every((byte, i) => byte === content[at + i])) continue;
        changes.push({ guestVirtual: page.guestVirtual + at, bytes: piece });
      }
      this.memory.write(guestPhysical, content);
      if (page.executable) this.vcpu.invalidateCode(guestPhysical, PAGE_BYTES);
    }
    const { segments } = state;
    return {
      vector,
      errorCode,
      cr2: state.cr2,
      state: {
        gpr: state.gpr,
        rip: state.rip,
        rflags: state.rflags,
        fsBase: segments.fs.base,
        gsBase: segments.gs.base,
        cs: segments.cs.selector,
        ss: segments.ss.selector,
        ds: segments.ds.selector,
        es: segments.es.selector,
        fs: segments.fs.selector,
        gs: segments.gs.selector,
        fxsave: state.xsave.slice(0, 512),
      },
      changes,
    };
  }
}
