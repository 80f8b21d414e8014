// A virtual processor on the software engine: the run loop around generated code, the services that generated code
// calls, and the events between instructions (Intel SDM volume 3A, 6.9 for their order).
//
//            +--------- run loop ---------+
//            | poll, interrupts, shutdown |
//            +------------+---------------+
//                         | resolve(rip) -> record
//                 handlers in WebAssembly, each tail-calling the next
//                         | return: budget used up, `stop` set, or rip set by a runtime function

import { createDecoder } from '../../decode/decoder.ts';
import type { CodeSize, Instruction } from '../../decode/instruction.ts';
import { createBulkMemory } from '../../emit/bulk-memory.ts';
import { MAXIMUM_CALL_DEPTH } from '../../emit/core.ts';
import { FIRST_REGION, type ServiceName } from '../../emit/imports.ts';
import { HEAT, RECORD, REGION_RECORD } from '../../emit/record.ts';
import { ALIGNED_16 } from '../../ir/builder.ts';
import {
  FLAT_SEGMENT_OFFSET,
  NO_RETURN,
  SEGMENT_FIELDS,
  STATE,
  STEP_RECORDS_OFFSET,
  segmentOffset,
  X87_OFFSET,
} from '../../ir/guest-state.ts';
import { RUNTIME, type RuntimeName, type RuntimeSignature } from '../../ir/runtime.ts';
import { CR0, CR4, DR6, EFER } from '../../isa/control-registers.ts';
import { type CpuidContext, PORTABLE_FEATURES } from '../../isa/cpuid/portable.ts';
import { resetMsrs } from '../../isa/cpuid/portable-msrs.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { GPR_NAMES_64 } from '../../isa/registers.ts';
import type { DirtyLog } from '../dirty-log.ts';
import type { StepResult, Vcpu, VcpuExit, VcpuHost } from '../vcpu.ts';
import { SEGMENT_ATTRIBUTE, type VcpuState } from '../vcpu-state.ts';
import { BatchTranslator } from './batch-translator.ts';
import * as bulk from './bulk-string.ts';
import { CodeCache, type CodePage } from './code-cache.ts';
import { CpuState } from './cpu-state.ts';
import { floatRuntime } from './float-runtime.ts';
import { type Form, FormTable } from './form-table.ts';
import { writeOperands } from './forms.ts';
import { GuestFault } from './guest-fault.ts';
import { HandlerTable, SPECIAL_HANDLERS } from './handler-table.ts';
import { GUEST_RAM_OFFSET, layoutVcpu } from './layout.ts';
import { Mmu } from './mmu.ts';
import { PollInterval } from './poll-interval.ts';
import * as image from './processor-state.ts';
import type { RuntimeFunctions } from './runtime-functions.ts';
import * as system from './system-registers.ts';
import { TierClock } from './tier-clock.ts';
import * as transfer from './transfers.ts';
import type { CodeAround, TranslationPort } from './translation.ts';
import { Translator } from './translator.ts';
import { USUAL_FORMS } from './usual-forms.ts';
import { X87 } from './x87.ts';

/** Polls at one place before it is translated: some hundreds of microseconds of its work. */
const DEFAULT_SAMPLES = 5;
/** The translator hears of one poll in so many: to find the place takes longer than all else that a poll does. */
const POLLS_PER_SAMPLE = 3;
/** A place that is jumped to so often counts as sampled once. */
const JUMPS_PER_SAMPLE = 1000;

const DEFAULT_CODE_CACHE_BYTES = 256 << 20;

const DEBUG_ADDRESSES = [STATE.dr0, STATE.dr1, STATE.dr2, STATE.dr3] as const;

const DB = 1;
const UD = 6;
const NM = 7;
const GP = 13;

export interface SoftwareVcpuOptions {
  /** From createGuestMemory(ramBytes). */
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly host: VcpuHost;
  readonly index?: number;
  readonly count?: number;
  /** Limits the decoded instructions that are kept; by default the processor's whole share. */
  readonly recordsBytes?: number;
  readonly cpuid: Omit<CpuidContext, 'osxsave'>;
  /** Polls at one place before it is translated: 0 is before it first runs, Infinity never. */
  readonly translateAfterSamples?: number;
  /** Machine code of translated regions to be kept at most, as an estimate: 256 MiB by default. */
  readonly codeCacheBytes?: number;
  /** Translates on another thread; without one regions are made on this one. */
  readonly translation?: TranslationPort;
  /** Single steps run translated code where there can be some; for tests of the translator. */
  readonly translateSteps?: boolean;
  /** Jumps between two polls, where they are not to follow the time; 1 polls at every jump that is taken. */
  readonly pollInterval?: number;
  /** Generates the handlers of usual instructions at once (0.1 s), for a guest that is going to need most of them. */
  readonly prepareUsualForms?: boolean;
  /** 64 random bits, for RDRAND; the host's by default. */
  readonly random?: () => bigint;
}

/** A runtime function as its caller in WebAssembly sees it: at most four arguments. */
type GeneralFunction = (first?: unknown, second?: unknown, third?: unknown, fourth?: unknown) => unknown;
type ServiceFunctions = Record<ServiceName, (...args: number[]) => number>;

export class SoftwareVcpu implements Vcpu {
  readonly cpu: CpuState;
  readonly mmu: Mmu;
  readonly x87: X87;
  readonly code: CodeCache;
  readonly handlers: HandlerTable;
  private readonly forms: FormTable;
  private readonly host: VcpuHost;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly ramBytes: number;
  private readonly base: number;
  private readonly pollInterval: PollInterval;
  private readonly random: () => bigint;
  private readonly msrs = resetMsrs();
  private readonly systemContext: system.SystemContext;
  private readonly transferContext: transfer.TransferContext;
  private readonly bulkContext: bulk.BulkContext;

  private fault: GuestFault | undefined;
  private halted = false;
  /** STI: interrupts wait for one instruction. */
  private shadow = false;
  /** MOV or POP to SS: debug traps wait too. */
  private stackShadow = false;
  private nmiBlocked = false;
  private nmiPending = false;
  /** DR6 bits of traps that follow the instruction just run. */
  private debugTraps = 0;
  private taskTrap = false;
  /** TF or breakpoints: instructions run one by one. */
  private slow = false;

  constructor(options: SoftwareVcpuOptions) {
    const { memory, ramBytes, host } = options;
    const layout = layoutVcpu(options.index ?? 0, options.count ?? 1);
    this.host = host;
    const samples = options.translateAfterSamples ?? DEFAULT_SAMPLES;
    this.pollsPerSample = Math.max(1, Math.min(samples, POLLS_PER_SAMPLE));
    this.hotAfter = samples === Number.POSITIVE_INFINITY ? 0x7fffffff : Math.max(1, samples * JUMPS_PER_SAMPLE);
    this.ramBytes = ramBytes;
    this.base = layout.stateOffset;
    this.pollInterval = new PollInterval(options.pollInterval);
    this.random = options.random ?? (() => crypto.getRandomValues(new BigUint64Array(1))[0]!);
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.cpu = new CpuState(memory.buffer, layout.stateOffset);
    this.mmu = new Mmu(this.cpu, host, memory, layout, ramBytes);
    this.x87 = new X87(this.view, layout.stateOffset + X87_OFFSET);
    this.x87.reset();
    const { decode } = this;
    this.code = new CodeCache({
      memory,
      ramBytes,
      recordsOffset: layout.recordsOffset,
      recordsEnd: Math.min(layout.recordsEnd, layout.recordsOffset + (options.recordsBytes ?? layout.recordsEnd)),
      decode,
      writeRecord: (record, instruction, ip) => this.writeRecord(record, instruction, ip),
      fuse: (record, first, second) => this.fuse(record, first, second),
      writeSpecial: (record, kind, ip, link) => this.writeSpecial(record, SPECIAL_HANDLERS[kind], ip, link),
      forbidDirectWrites: (page) => this.mmu.forbidDirectWrites(page),
      clearCodeTlbs: () => this.mmu.clearCodeTlbs(),
      codeMoved: () => {
        this.codeMoved();
        this.cpu.set32(STATE.codeChanged, 1);
      },
      regionGone: (handler) => this.translator.regionGone(handler),
      regionReplaced: (handler) => this.translator.regionReplaced(handler),
    });
    this.mmu.attachCode(this.code);
    this.mmu.codeMoved = () => this.codeMoved();
    this.mmu.addressSpaceChanged = () => this.addressSpaceChanged();
    this.mmu.stackFault = () => this.usesStack();
    this.view.setUint32(this.base + FLAT_SEGMENT_OFFSET + SEGMENT_FIELDS.flat, 1, true);
    this.transferContext = {
      cpu: this.cpu,
      memory: this.mmu,
      refreshMode: () => this.refreshMode(),
      refreshFlags: () => this.refreshFlags(),
      refreshPrivilege: () => this.refreshPrivilege(),
      currentRip: () => this.currentRip(),
      nextRip: () => this.nextRip(),
      loadCr3: (value) => system.writeControl(this.systemContext, 3, value),
      nmiUnblocked: () => {
        this.nmiBlocked = false;
      },
      taskTrap: () => {
        this.taskTrap = true;
      },
    };
    this.systemContext = {
      cpu: this.cpu,
      mmu: this.mmu,
      host,
      cpuidContext: options.cpuid,
      msrs: this.msrs,
      tscOffset: 0,
      refreshMode: () => this.refreshMode(),
      refreshBreakpoints: () => this.refreshBreakpoints(),
    };
    this.bulkContext = {
      memory: createBulkMemory(memory),
      cpu: this.cpu,
      mmu: this.mmu,
      host,
      bytes: this.bytes,
      isStepping: () => this.slow || this.single,
      checkSegment: (segment, offset, sizeBytes, write) =>
        transfer.checkSegment(this.transferContext, (segment - 0x100) >> 5, offset, sizeBytes, write),
      watch: (low, high, sizeBytes, write) => this.watch(low, high, sizeBytes, write),
      checkPort: (port, sizeBytes) => transfer.checkIoPermission(this.transferContext, port, sizeBytes),
      readPort: (port, sizeBytes) => this.readPort(port, sizeBytes),
      writePort: (port, sizeBytes, value) => this.writePort(port, sizeBytes, value),
    };
    this.handlers = new HandlerTable({ memory, runtime: this.runtimeImports(), services: this.services() });
    this.forms = new FormTable(this.handlers);
    if (options.prepareUsualForms === true) this.forms.prepare(USUAL_FORMS, this.decode);
    this.translator = new Translator({
      handlers: this.handlers,
      batches: new BatchTranslator(memory, decode),
      port: options.translation,
      threshold: samples,
      pollsPerSample: this.pollsPerSample,
      untaken: this.hotAfter,
      heat: layout.heatOffset,
      cool: () => {
        const heat = this.cpu.words.subarray(layout.heatOffset >> 2, (layout.heatOffset + HEAT.sizeBytes) >> 2);
        heat.forEach((count, index) => {
          if (count !== 0) heat[index] = 1;
        });
      },
      codePage: (page) => this.code.page(page, 64),
      tables: this.code.tables,
      watchCode: (page, offset, bytes) => this.code.watchCode(page, offset, bytes),
      install: (page, offset, { handler }, others) => {
        if (this.code.record(page, offset) === 0) return false;
        return this.code.install(page, offset, handler, others) !== 0;
      },
      removeRegions: (handlers) => this.code.removeRegions(handlers),
      maximumCodeBytes: options.codeCacheBytes ?? DEFAULT_CODE_CACHE_BYTES,
    });
    this.translatesSteps = options.translateSteps ?? false;
    this.translatesFirst = options.translateAfterSamples === 0;
    this.cpu.set32(STATE.heat, layout.heatOffset);
    this.cpu.set32(STATE.heatLimit, this.hotAfter);
    this.cpu.set32(STATE.jumpCache, layout.jumpCacheOffset);
    this.translates = options.translateAfterSamples !== Number.POSITIVE_INFINITY;
    this.mmu.flushAll();
  }

  readonly translator: Translator;
  private readonly tiers = new TierClock();
  /** Jumps to a place before it is translated. */
  private readonly hotAfter: number;
  private readonly translatesSteps: boolean;
  private readonly translatesFirst: boolean;
  private readonly translates: boolean;
  /** TranslatorParts.pollsPerSample. */
  private readonly pollsPerSample: number;
  /** Polls until the translator hears of one. */
  private unsampled = 0;
  /** It hears of this one, which is of interpreted code. */
  private isSampled = false;
  /** The last number given to an epoch, and the last one that counts no more in any address space. */
  private epochs = 1;
  private staleEpoch = 1;
  private supervisorEpoch = 1;
  private userEpoch = 1;
  /** By TLB key: the epoch of the user's code; whether the supervisor has run code in pages that are not global. */
  private readonly userEpochs = new Int32Array(4096);
  private readonly localSupervisor = new Uint8Array(4096);
  private addressSpace = 0;
  private resolvedPage: CodePage | undefined;
  private resolvedOffset = 0;
  private single = false;
  private polled = false;
  /** The next poll leads to the run loop. */
  private loopWanted = false;
  /** The next instruction is to be run on its own; a host that polls may ask for that too. */
  singleNext = false;
  /** INT n, and SYSCALL that masks TF: no single-step trap follows. */
  private untrapped = false;
  private readonly decode = createDecoder(PORTABLE_FEATURES);

  // Records.

  private writeRecord(record: number, instruction: Instruction, ip: number): Form {
    const form = this.forms.of(instruction);
    writeOperands(this.view, record, instruction, form.lift, ip, this.hotAfter);
    this.view.setUint16(record + RECORD.handler, form.handler, true);
    return form;
  }

  private fuse(record: number, first: Form, second: Form): void {
    const pair = this.forms.pair(first, second);
    if (pair !== undefined) this.view.setUint16(record + RECORD.handler, pair, true);
  }

  private writeSpecial(record: number, handler: number, ip: number, link: number): void {
    const { view } = this;
    view.setUint16(record + RECORD.handler, handler, true);
    view.setUint8(record + RECORD.length, 0);
    view.setUint16(record + RECORD.ip, ip, true);
    view.setUint32(record + RECORD.link, link, true);
  }

  // Where the processor is.

  currentRip(): bigint {
    const record = this.cpu.get32(STATE.record);
    if (record === 0) return this.cpu.get(STATE.rip);
    return this.ripOf(this.view.getUint16(record + RECORD.ip, true));
  }

  private nextRip(): bigint {
    const record = this.cpu.get32(STATE.record);
    if (record === 0)
      return BigInt.asUintN(64, this.cpu.get(STATE.rip) + BigInt(this.cpu.get32(STATE.instructionLength)));
    return this.ripOf(this.view.getUint16(record + RECORD.ip, true) + this.view.getUint8(record + RECORD.length));
  }

  private ripOf(offset: number): bigint {
    const rip = BigInt.asUintN(64, this.cpu.get(STATE.codePage) + BigInt(offset));
    return this.cpu.get32(STATE.codeSize) === 64 ? rip : rip & 0xffffffffn;
  }

  /** Makes the rip field hold the address after generated code has returned. */
  private settleRip(): void {
    if (this.cpu.get32(STATE.codeSize) !== 64) this.view.setUint32(this.base + STATE.rip.offset + 4, 0, true);
    if (this.cpu.get32(STATE.record) === 0) return;
    this.cpu.set(STATE.rip, this.currentRip());
    this.cpu.set32(STATE.record, 0);
  }

  private get eflagsSystem(): number {
    return this.cpu.get32(STATE.systemFlags);
  }

  // What follows from the architectural state.

  refreshMode(): void {
    const { cpu, view, base } = this;
    const cs = cpu.attributes(1);
    const long = (cpu.getLow(STATE.efer) & EFER.LMA) !== 0 && (cs & SEGMENT_ATTRIBUTE.L) !== 0;
    const codeSize: CodeSize = long ? 64 : (cs & SEGMENT_ATTRIBUTE.DB) !== 0 ? 32 : 16;
    const cpl = cpu.get32(STATE.cpl);
    this.writeEpoch();
    cpu.set32(STATE.codeSize, codeSize);
    const codeSegment = base + segmentOffset(1);
    const codeLimit = view.getUint32(codeSegment + SEGMENT_FIELDS.limit, true);
    cpu.set(STATE.codeBase, long ? 0n : cpu.segment(1).base);
    view.setUint32(base + STATE.codeLimit.offset, long ? 0xffffffff : codeLimit, true);
    view.setUint32(base + STATE.codeLimit.offset + 4, long ? 0xffffffff : 0, true);
    cpu.set(STATE.stackBase, long ? 0n : cpu.segment(2).base);
    const wideStack = (cpu.attributes(2) & SEGMENT_ATTRIBUTE.DB) !== 0;
    cpu.set(STATE.stackMask, long ? 0xffffffffffffffffn : wideStack ? 0xffffffffn : 0xffffn);
    cpu.set32(STATE.codeTlb, this.mmu.codeTlbFor(cpl, codeSize));
    if (!long) this.mmu.limitCode(view.getUint32(codeSegment + SEGMENT_FIELDS.base, true), codeLimit);
    for (let index = 0; index < 6; index++) {
      const at = base + segmentOffset(index);
      const attributes = view.getUint32(at + SEGMENT_FIELDS.attributes, true);
      const limit = view.getUint32(at + SEGMENT_FIELDS.limit, true);
      const writableUp = (attributes & 0x9e) === 0x92 && (attributes & SEGMENT_ATTRIBUTE.UNUSABLE) === 0;
      view.setUint32(at + SEGMENT_FIELDS.flat, long || (writableUp && limit === 0xffffffff) ? 1 : 0, true);
    }
    const cr0 = cpu.getLow(STATE.cr0);
    const emulated = (cr0 & CR0.EM) !== 0;
    const switched = (cr0 & CR0.TS) !== 0;
    const noSse = emulated || (cpu.getLow(STATE.cr4) & CR4.OSFXSR) === 0;
    cpu.set32(STATE.x87Trap, emulated ? UD + 1 : switched ? NM + 1 : 0);
    cpu.set32(STATE.sseTrap, noSse ? UD + 1 : switched ? NM + 1 : 0);
    this.refreshFlags();
  }

  private refreshPrivilege(): void {
    this.writeEpoch();
    this.cpu.set32(STATE.codeTlb, this.mmu.codeTlbFor(this.cpu.get32(STATE.cpl), 64));
    this.refreshFlags();
  }

  private refreshFlags(): void {
    const { cpu } = this;
    const ac = (this.eflagsSystem & EFLAGS.AC) !== 0;
    this.mmu.useTlb(this.mmu.tlbFor(cpu.get32(STATE.cpl), ac));
    this.refreshSlow();
  }

  private refreshSlow(): void {
    this.slow = (this.eflagsSystem & EFLAGS.TF) !== 0 || (this.cpu.getLow(STATE.dr7) & 0xff) !== 0;
  }

  private refreshBreakpoints(): void {
    const dr7 = this.cpu.getLow(STATE.dr7);
    const watched: number[] = [];
    for (let k = 0; k < 4; k++) {
      const kind = (dr7 >> (16 + 4 * k)) & 3;
      if (((dr7 >> (2 * k)) & 3) === 0 || kind === 0) continue;
      watched.push(Number(BigInt.asIntN(32, this.cpu.get(DEBUG_ADDRESSES[k]!) >> 12n)));
    }
    this.mmu.watchedPages = watched;
    this.mmu.flushAll();
    this.refreshSlow();
  }

  /** Code may be elsewhere than it was: what regions remember of other places counts no more. */
  private codeMoved(): void {
    this.staleEpoch = this.epochs;
    this.supervisorEpoch = this.newEpoch();
    this.userEpoch = this.newEpoch();
    this.userEpochs[this.addressSpace] = this.userEpoch;
    this.writeEpoch();
  }

  private newEpoch(): number {
    this.epochs++;
    if (this.epochs > 0x3fffffff) {
      // Old numbers come again: no region may know one of them. The whole cache goes.
      this.epochs = 1;
      this.staleEpoch = 0;
      this.userEpochs.fill(0);
      this.code.full = true;
    }
    return this.epochs;
  }

  /**
   * Another address space, or the same with its translations dropped. Code of the supervisor is where it was as long
   * as it lies in global pages; the user's is where it was when this address space was last left.
   */
  private addressSpaceChanged(): void {
    const key = this.mmu.addressSpace;
    const before = this.addressSpace;
    this.addressSpace = key;
    let epoch = this.userEpochs[key]!;
    if (epoch <= this.staleEpoch) {
      // A new key, or one that comes again after all TLBs have been cleared.
      this.localSupervisor[key] = 0;
      epoch = this.newEpoch();
      this.userEpochs[key] = epoch;
    }
    this.userEpoch = epoch;
    if (this.localSupervisor[before] === 1 || this.localSupervisor[key] === 1) this.supervisorEpoch = this.newEpoch();
    this.writeEpoch();
  }

  /** The page just walked holds code that is about to run, or that a region goes to. */
  private noteCode(low: number, high: number): void {
    this.mmu.noteExecuted(low, high);
    if (!this.mmu.globalPage && this.cpu.get32(STATE.cpl) !== 3) this.localSupervisor[this.addressSpace] = 1;
  }

  /** What a supervisor has found says nothing of what a user may execute. */
  private writeEpoch(): void {
    const user = this.cpu.get32(STATE.cpl) === 3;
    this.cpu.set32(STATE.codeEpoch, user ? (this.userEpoch << 1) | 1 : this.supervisorEpoch << 1);
  }

  /** The page of an address of the present address space. */
  private around(linear: bigint): CodeAround {
    const { cpu } = this;
    const root = (cpu.getLow(STATE.cr3) & ~0xfff) >>> 0;
    return { linear: linear & ~0xfffn, root, user: cpu.get32(STATE.cpl) === 3 };
  }

  /** The physical page `delta` pages from an address, if code there has been executed and can be now. */
  private physicalCodePage(linear: bigint, delta: number): number | undefined {
    const at = BigInt.asUintN(64, linear + BigInt(delta * 4096));
    return this.mmu.peekCode(Number(at & 0xfffff000n) | 0, Number(at >> 32n) | 0);
  }

  private verifyRegion(record: number): boolean {
    const region = this.code.regionAt(record);
    if (region === undefined) return false;
    const linear = this.cpu.get(STATE.codePage);
    for (const { delta, codePage } of region.others) {
      if (this.physicalCodePage(linear, delta) !== codePage.page) return false;
      const at = BigInt.asUintN(64, linear + BigInt(delta * 4096));
      this.noteCode(Number(at & 0xfffff000n) | 0, Number(at >> 32n) | 0);
    }
    const { view, base } = this;
    view.setUint32(record + REGION_RECORD.verifiedEpoch, this.cpu.get32(STATE.codeEpoch), true);
    view.setBigUint64(record + REGION_RECORD.verifiedPage, view.getBigUint64(base + STATE.codePage.offset, true), true);
    return true;
  }

  /** The budget is used up at `rip`, in a region by its record: true when the run loop is wanted. */
  private pollInside(region: number): boolean {
    if (this.single || this.needsUpkeep || this.slow || this.loopWanted) return true;
    this.pollInterval.adapt(this.noteTier(region));
    const { host } = this;
    const { invalidations } = this.code;
    if (host.poll() || this.singleNext) return true;
    // A device has written over code, perhaps that of the region which polls.
    if (this.code.invalidations !== invalidations) return true;
    this.translator.collect();
    this.nmiPending ||= host.takeNmi();
    const waiting = host.interruptPending();
    if (this.nmiPending || (waiting && (this.eflagsSystem & EFLAGS.IF) !== 0)) return true;
    if (waiting) this.cpu.set32(STATE.interruptWaiting, 1);
    this.view.setInt32(this.base + STATE.budget.offset, this.pollInterval.current - 1, true);
    if (this.isSampled) this.tellTranslator('sample', this.cpu.get(STATE.rip));
    return this.needsUpkeep;
  }

  /** Counts the time since the last poll for the record that polls, or that is about to run. */
  private noteTier(record: number): number {
    const handler = record === 0 ? 0 : this.view.getUint16(record + RECORD.handler, true);
    const translated = handler >= FIRST_REGION;
    if (--this.unsampled < 0) this.unsampled = this.pollsPerSample - 1;
    this.isSampled = false;
    if (this.unsampled === 0 && this.translates) {
      if (translated) this.translator.used(handler);
      else this.isSampled = true;
    }
    return this.tiers.poll(translated);
  }

  /** Sums since the beginning; names that end in `Ms` are times, `recordBytes` and `live...` are levels. */
  statistics(): Readonly<Record<string, number>> {
    const { translator, handlers, code, tiers } = this;
    const { modules, ...translations } = translator.statistics;
    return {
      modules: modules + handlers.modules,
      ...translations,
      handlers: handlers.forms,
      decodedInstructions: code.decodedInstructions,
      invalidations: code.invalidations,
      flushes: code.flushes,
      interpretedMs: tiers.interpretedMs,
      translatedMs: tiers.translatedMs,
      recordBytes: code.bytesUsed,
      ...translator.levels,
    };
  }

  /** Tells the translator that this offset in CS was jumped to often, or polls: `what`. */
  private tellTranslator(what: 'heated' | 'sample', rip: bigint): void {
    const linear = BigInt.asUintN(64, rip + this.cpu.get(STATE.codeBase));
    const page = this.physicalCodePage(linear, 0);
    const codePage = page === undefined ? undefined : this.code.page(page, this.cpu.get32(STATE.codeSize) as CodeSize);
    if (codePage === undefined) return;
    const offset = Number(linear & 0xfffn);
    if (this.code.record(codePage, offset) !== 0) this.translator[what](codePage, offset, this.around(linear));
  }

  // Services of generated code.

  /** Makes an exception pending; generated code returns when it sees `stop`. */
  private pend(fault: GuestFault): void {
    this.fault = fault;
    this.view.setUint32(this.base + STATE.stop.offset, 1, true);
  }

  private caught(error: unknown): void {
    if (!(error instanceof GuestFault)) throw error;
    this.pend(error);
  }

  private services(): ServiceFunctions {
    const { mmu } = this;
    const setRecord = (record: number): void => this.view.setUint32(this.base + STATE.record.offset, record, true);
    return {
      translate: (_cpu, record, low, high, access) => {
        setRecord(record!);
        try {
          const host = mmu.translate(low!, high!, access! & 0xff, access! > 0xff);
          if (host === 0) this.pend(mmu.pageFaulted!);
          return host;
        } catch (error) {
          this.caught(error);
          return 0;
        }
      },
      loadSpecial: (_cpu, record, low, high, access) => {
        setRecord(record!);
        try {
          this.watch(low!, high!, access! & 0xff, access! > 0xff);
          mmu.loadSpecial(low!, high!, access! & 0xff, access! > 0xff);
          this.noticeInterrupt();
          return 1;
        } catch (error) {
          this.caught(error);
          return 0;
        }
      },
      storeSpecial: (_cpu, record, low, high, access) => {
        setRecord(record!);
        try {
          this.watch(low!, high!, access! & 0xff, true);
          const before = this.code.invalidations;
          mmu.storeSpecial(low!, high!, access! & 0xff);
          if (this.code.invalidations !== before) this.cpu.set32(STATE.codeChanged, 1);
          this.noticeInterrupt();
          return 1;
        } catch (error) {
          this.caught(error);
          return 0;
        }
      },
      hot: () => {
        this.tellTranslator('heated', this.cpu.get(STATE.rip));
        return 0;
      },
      poll: (_cpu, region) => (this.pollInside(region!) ? 1 : 0),
      verifyRegion: (_cpu, record) => (this.verifyRegion(record!) ? 1 : 0),
      resolve: () => {
        try {
          return this.resolve();
        } catch (error) {
          this.caught(error);
          return 0;
        }
      },
      resolveCross: (_cpu, record) => {
        try {
          return this.resolveCross(record!);
        } catch (error) {
          this.caught(error);
          return 0;
        }
      },
    };
  }

  /** Data breakpoints: the trap comes after the instruction (SDM 3B 17.2.4). */
  private watch(low: number, high: number, sizeBytes: number, write: boolean): void {
    const dr7 = this.cpu.getLow(STATE.dr7);
    if ((dr7 & 0xff) === 0) return;
    const first = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    const last = first + BigInt(sizeBytes - 1);
    for (let k = 0; k < 4; k++) {
      const kind = (dr7 >> (16 + 4 * k)) & 3;
      if (((dr7 >> (2 * k)) & 3) === 0 || kind === 0 || kind === 2 || (kind === 1 && !write)) continue;
      const length = [1n, 2n, 8n, 4n][(dr7 >> (18 + 4 * k)) & 3]!;
      const from = this.cpu.get(DEBUG_ADDRESSES[k]!) & ~(length - 1n);
      if (last >= from && first < from + length) this.debugTraps |= 1 << k;
    }
  }

  /** Breakpoints on ports, with CR4.DE: traps too. */
  private watchPort(port: number, sizeBytes: number): void {
    const dr7 = this.cpu.getLow(STATE.dr7);
    if ((dr7 & 0xff) === 0 || (this.cpu.getLow(STATE.cr4) & CR4.DE) === 0) return;
    for (let k = 0; k < 4; k++) {
      if (((dr7 >> (2 * k)) & 3) === 0 || ((dr7 >> (16 + 4 * k)) & 3) !== 2) continue;
      const length = [1, 2, 8, 4][(dr7 >> (18 + 4 * k)) & 3]!;
      const from = this.cpu.getLow(DEBUG_ADDRESSES[k]!) & ~(length - 1);
      if (port + sizeBytes > from && port < from + length) this.debugTraps |= 1 << k;
    }
  }

  /** A device may have raised an interrupt: it is taken at the next jump instead of the next poll. */
  private noticeInterrupt(): void {
    if (!this.host.interruptPending()) return;
    this.cutBudget();
    this.cpu.set32(STATE.interruptWaiting, 1);
  }

  /** A transfer is done, and its caller jumps to RIP: by way of the run loop where that has something to do. */
  private transferred(wantsLoop = false): void {
    const { cpu } = this;
    const wanted = wantsLoop || this.slow || cpu.get32(STATE.codeSize) !== 64;
    if (!wanted && ((this.eflagsSystem & EFLAGS.IF) === 0 || !this.host.interruptPending())) return;
    this.loopWanted = true;
    this.cutBudget();
  }

  /** The next jump polls. */
  private cutBudget(): void {
    const at = this.base + STATE.budget.offset;
    this.pollInterval.cut(this.view.getInt32(at, true));
    this.view.setInt32(at, 0, true);
  }

  /** The record at rip, and codePage set; 0 when the run loop has to act first. Throws GuestFault. */
  private resolve(): number {
    const { cpu, view, base } = this;
    const long = cpu.get32(STATE.codeSize) === 64;
    let low = view.getInt32(base + STATE.rip.offset, true);
    let high = view.getInt32(base + STATE.rip.offset + 4, true);
    let limited = false;
    if (!long) {
      const rip = low >>> 0;
      const limit = view.getUint32(base + STATE.codeLimit.offset, true);
      if (rip > limit) throw new GuestFault(GP, 0);
      low = (low + view.getInt32(base + STATE.codeBase.offset, true)) | 0;
      high = 0;
      // In the page where CS ends every instruction is checked on its own.
      limited = rip + 4095 - (low & 0xfff) > limit && limit !== 0xffffffff;
      if (limited) {
        if (!this.single) {
          this.singleNext = true;
          view.setUint32(base + STATE.stop.offset, 1, true);
          return 0;
        }
        this.checkFetch(limit - rip + 1);
      }
    }
    const guestPhysical = this.mmu.fetch(low, high);
    const shared = this.mmu.globalPage;
    this.noteCode(low, high);
    // Where there is no memory all bits read as 1, which is no instruction.
    if (guestPhysical >= this.ramBytes) throw new GuestFault(UD);
    const offset = guestPhysical % 4096;
    const codePage = this.code.page((guestPhysical - offset) / 4096, cpu.get32(STATE.codeSize) as CodeSize);
    let record = codePage === undefined ? 0 : this.code.record(codePage, offset);
    if (this.translatesFirst && record !== 0 && !this.single) {
      this.translator.translateOnce(codePage!, offset, this.around(cpu.get(STATE.rip)));
      record = this.code.record(codePage!, offset);
    }
    if (record === 0) {
      // The pool is full. It is emptied by the run loop, when no record is in use.
      view.setUint32(base + STATE.stop.offset, 1, true);
      return 0;
    }
    this.resolvedPage = codePage;
    this.resolvedOffset = offset;
    if (!limited) this.mmu.fillCodeTlb(low, high, codePage!.table, shared);
    if (long) {
      view.setInt32(base + STATE.codePage.offset, low & ~0xfff, true);
      view.setInt32(base + STATE.codePage.offset + 4, high, true);
    } else {
      cpu.set(STATE.codePage, BigInt.asUintN(64, BigInt((low & ~0xfff) >>> 0) - cpu.get(STATE.codeBase)));
    }
    return record;
  }

  private resolveCross(record: number): number {
    const { cpu, view } = this;
    cpu.set32(STATE.record, record);
    const offset = view.getUint16(record + RECORD.ip, true);
    const long = cpu.get32(STATE.codeSize) === 64;
    if (!long) {
      const available = cpu.getLow(STATE.codeLimit) + 1 - Number(this.currentRip());
      if (available < 15) this.checkFetch(available);
    }
    const linear = BigInt.asUintN(64, cpu.get(STATE.codePage) + cpu.get(STATE.codeBase));
    const low = Number(linear & 0xffffffffn) | 0;
    const high = Number(linear >> 32n) | 0;
    const first = this.mmu.fetch(low, high);
    const nextLow = (low + 4096) | 0;
    const second = this.mmu.fetch(nextLow, nextLow === 0 && long ? (high + 1) | 0 : high);
    const codeSize = cpu.get32(STATE.codeSize) as CodeSize;
    const found = this.code.cross(record, first / 4096, offset, codeSize, second / 4096);
    if (found === 0) view.setUint32(this.base + STATE.stop.offset, 1, true);
    return found;
  }

  /** #GP(0) for an instruction that does not end within the `available` bytes up to the limit of CS. */
  private checkFetch(available: number): void {
    const bytes = this.instructionBytes().subarray(0, available);
    if (bytes.length < available) return;
    const decoded = this.decode(bytes, 0, bytes.length, this.cpu.get32(STATE.codeSize) as CodeSize);
    if (decoded === 'truncated') throw new GuestFault(GP, 0);
  }

  /** Whether the instruction at hand addresses memory through SS: its non-canonical addresses raise #SS. */
  private usesStack(): boolean {
    const instruction = this.currentInstruction();
    if (instruction === undefined) return false;
    const memory = instruction.operands.find((operand) => operand.kind === 'memory');
    if (memory?.kind === 'memory' && memory.segment === 2) return true;
    // With an operand elsewhere too, it is the stack when RSP is not canonical.
    const rsp = this.cpu.gpr(4);
    if (memory !== undefined && BigInt.asUintN(64, BigInt.asIntN(48, rsp)) === rsp) return false;
    return [
      'push',
      'pop',
      'call',
      'call-indirect',
      'ret',
      'enter',
      'leave',
      'pushf',
      'popf',
      'push-sreg',
      'pop-sreg',
    ].includes(instruction.row.lift);
  }

  private currentInstruction(): Instruction | undefined {
    const buffer = this.instructionBytes();
    const decoded = this.decode(buffer, 0, buffer.length, this.cpu.get32(STATE.codeSize) as CodeSize);
    return typeof decoded === 'string' ? undefined : decoded;
  }

  /** Up to 15 bytes at RIP, fewer where they cannot be read. */
  private instructionBytes(): Uint8Array {
    const rip = this.currentRip() + this.cpu.get(STATE.codeBase);
    const buffer: number[] = [];
    const cr2 = this.cpu.get(STATE.cr2);
    try {
      for (let k = 0n; k < 15n; k++) {
        const linear = BigInt.asUintN(64, rip + k);
        const guestPhysical = this.mmu.fetch(Number(linear & 0xffffffffn) | 0, Number(linear >> 32n) | 0);
        if (guestPhysical >= this.ramBytes) break;
        buffer.push(this.bytes[GUEST_RAM_OFFSET + guestPhysical]!);
      }
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      this.cpu.set(STATE.cr2, cr2);
    }
    return new Uint8Array(buffer);
  }

  private readPort(port: number, sizeBytes: number): number {
    transfer.checkIoPermission(this.transferContext, port, sizeBytes);
    this.watchPort(port, sizeBytes);
    const value = this.host.readPort(port, sizeBytes);
    this.noticeInterrupt();
    return value;
  }

  private writePort(port: number, sizeBytes: number, value: number): void {
    transfer.checkIoPermission(this.transferContext, port, sizeBytes);
    this.watchPort(port, sizeBytes);
    this.host.writePort(port, sizeBytes, value >>> 0);
    this.noticeInterrupt();
  }

  private checkX87(): void {
    if ((this.cpu.getLow(STATE.cr0) & (CR0.EM | CR0.TS)) !== 0) throw new GuestFault(NM);
  }

  private runtime(): RuntimeFunctions {
    const { cpu, mmu, x87 } = this;
    const t = this.transferContext;
    const s = this.systemContext;
    return {
      raise: (vector, errorCode) => {
        throw new GuestFault(vector, errorCode === -1 ? undefined : errorCode);
      },
      softwareInterrupt: (vector, kind) => {
        transfer.softwareInterrupt(t, vector, kind);
        this.untrapped = true;
      },
      readPort: (port, sizeBytes) => this.readPort(port & 0xffff, sizeBytes),
      writePort: (port, sizeBytes, value) => this.writePort(port & 0xffff, sizeBytes, value),
      cpuid: () => system.runCpuid(s),
      readTsc: () => system.readTsc(s),
      readTscp: () => system.readTsc(s),
      rdmsr: () => system.rdmsr(s),
      wrmsr: () => {
        system.wrmsr(s);
        this.noticeInterrupt();
      },
      rdpmc: () => {
        throw new GuestFault(GP, 0);
      },
      writeControl: (register, value) => system.writeControl(s, register, value),
      readControl: (register) => system.readControl(s, register),
      writeDebug: (register, value) => system.writeDebug(s, register, value),
      readDebug: (register) => system.readDebug(s, register),
      lmsw: (value) => system.lmsw(s, value),
      clts: () => system.clts(s),
      loadDescriptorTable: (table, limit, address) => system.loadDescriptorTable(s, table, limit, address),
      checkUmip: () => system.checkUmip(s),
      checkPrivileged: () => system.requirePrivilege(s),
      lldt: (selector) => transfer.lldt(t, selector),
      ltr: (selector) => transfer.ltr(t, selector),
      loadSegment: (place, selector) => {
        // LSS holds nothing back: bit 3 says that it loads.
        const [index, held] = [place & 7, place < 8];
        transfer.loadSegment(t, index, selector);
        if (index === 2 && held) this.stackShadow = true;
      },
      inspectSelector: (kind, selector) => transfer.inspectSelector(t, kind, selector),
      invlpg: (address) =>
        mmu.invalidatePage(Number(address & 0xffffffffn) | 0, Number((address >> 32n) & 0xffffffffn) | 0),
      invpcid: (type, address) => {
        const low = mmu.read(address, 8, false);
        const high = mmu.read(BigInt.asUintN(64, address + 8n), 8, false);
        system.invpcid(s, type, low, high);
      },
      syscall: () => {
        if (!transfer.syscallUsual(t)) transfer.syscall(t);
        this.untrapped = (this.eflagsSystem & EFLAGS.TF) === 0;
        this.transferred();
      },
      sysret: (operandBytes) => {
        if (operandBytes !== 8 || !transfer.sysretUsual(t)) transfer.sysret(t, operandBytes);
        this.transferred();
      },
      sysenter: () => transfer.sysenter(t),
      sysexit: (operandBytes) => transfer.sysexit(t, operandBytes),
      iret: (operandBytes) => {
        const blocked = this.nmiBlocked;
        if (operandBytes === 8 && transfer.returnUsual(t)) this.nmiBlocked = false;
        else transfer.iret(t, operandBytes);
        this.transferred(blocked);
      },
      farJump: (selector, offset, operandBytes) => transfer.farJump(t, selector, offset, operandBytes),
      farCall: (selector, offset, operandBytes) => transfer.farCall(t, selector, offset, operandBytes),
      farReturn: (operandBytes, release) => transfer.farReturn(t, operandBytes, release),
      writeFlags: (value, operandBytes) => transfer.writeFlags(t, value, operandBytes),
      cli: () => transfer.cli(t),
      sti: () => {
        const off = (this.eflagsSystem & EFLAGS.IF) === 0;
        transfer.sti(t);
        const waiting = this.host.interruptPending();
        if (waiting) cpu.set32(STATE.interruptWaiting, 1);
        // Unless the run loop follows at once, the next instruction has run when it looks for interrupts.
        if (off && (waiting || this.single)) this.shadow = true;
      },
      writeAc: (ac) => {
        cpu.set32(STATE.systemFlags, ac !== 0 ? this.eflagsSystem | EFLAGS.AC : this.eflagsSystem & ~EFLAGS.AC);
        this.refreshFlags();
      },
      hlt: () => {
        system.requirePrivilege(s);
        this.halted = true;
        this.shadow = false;
      },
      swapgs: () => {
        system.requirePrivilege(s);
        const old = cpu.get(STATE.gsBase);
        cpu.set(STATE.gsBase, cpu.get(STATE.kernelGsBase));
        cpu.set(STATE.kernelGsBase, old);
      },
      checkFsgsbase: () => {
        if ((cpu.getLow(STATE.cr4) & CR4.FSGSBASE) === 0) throw new GuestFault(UD);
      },
      repMovs: (size, address, segment) => bulk.repMovs(this.bulkContext, size, address, segment),
      repStos: (size, address) => bulk.repStos(this.bulkContext, size, address),
      ins: (size, address, repeated) => bulk.ins(this.bulkContext, size, address, repeated !== 0),
      outs: (size, address, repeated, segment) => bulk.outs(this.bulkContext, size, address, repeated !== 0, segment),
      enter: (size, level, operandBytes) => transfer.enter(t, operandBytes, level, size),
      pusha: (operandBytes) => transfer.pusha(t, operandBytes),
      popa: (operandBytes) => transfer.popa(t, operandBytes),
      divide128: (divisor) => divide128(cpu, divisor),
      idivide128: (divisor) => idivide128(cpu, BigInt.asIntN(64, divisor)),
      rdrand: () => this.random(),
      fxsave: (address, wide) => {
        this.checkX87();
        image.fxsave(this, address, wide !== 0);
      },
      fxrstor: (address, wide) => {
        this.checkX87();
        image.fxrstor(this, address, wide !== 0);
      },
      xsave: (address, wide, optimised) => {
        this.checkXsave();
        image.xsave(this, address, wide !== 0, optimised !== 0);
      },
      xrstor: (address, wide) => {
        this.checkXsave();
        image.xrstor(this, address, wide !== 0);
      },
      xgetbv: () => {
        this.checkOsxsave();
        image.xgetbv(this);
      },
      xsetbv: () => {
        this.checkOsxsave();
        image.xsetbv(this);
      },
      ldmxcsr: (value) => {
        if ((value & ~image.MXCSR_MASK) !== 0) throw new GuestFault(GP, 0);
        cpu.set32(STATE.mxcsr, value);
      },
      checkSegment: (index, offset, size, write) => {
        if (size === ALIGNED_16) {
          const segmentBase = this.view.getUint32(this.base + segmentOffset(index) + SEGMENT_FIELDS.base, true);
          if (((Number(offset & 15n) + segmentBase) & 15) !== 0) throw new GuestFault(GP, 0);
        }
        transfer.checkSegment(t, index, offset, size & 0x7f, write !== 0);
      },
      checkPrivilegedOpcode: () => {
        if (cpu.get32(STATE.cpl) !== 0) throw new GuestFault(UD);
      },
      checkPushf: () => transfer.checkPushf(t),
      ...floatRuntime({ cpu, mmu, x87 }),
    };
  }

  private checkXsave(): void {
    this.checkOsxsave();
    if ((this.cpu.getLow(STATE.cr0) & CR0.TS) !== 0) throw new GuestFault(NM);
  }

  private checkOsxsave(): void {
    if ((this.cpu.getLow(STATE.cr4) & CR4.OSXSAVE) === 0) throw new GuestFault(UD);
  }

  /** The runtime functions as generated code may call them: an exception becomes pending. */
  private runtimeImports(): Record<RuntimeName, (...args: never[]) => unknown> {
    const wrapped = {} as Record<RuntimeName, (...args: never[]) => unknown>;
    const functions = this.runtime();
    for (const name of Object.keys(functions) as RuntimeName[]) {
      wrapped[name] = this.pending(functions[name] as GeneralFunction, RUNTIME[name]) as (...args: never[]) => unknown;
    }
    // The frequent ones have a function of their own each, so that the engine beneath can inline what it calls.
    const { syscall, sysret, iret, repMovs, repStos } = functions;
    wrapped.syscall = () => {
      try {
        syscall();
      } catch (error) {
        this.caught(error);
      }
    };
    wrapped.sysret = (operandBytes: number) => {
      try {
        sysret(operandBytes);
      } catch (error) {
        this.caught(error);
      }
    };
    wrapped.iret = (operandBytes: number) => {
      try {
        iret(operandBytes);
      } catch (error) {
        this.caught(error);
      }
    };
    wrapped.repMovs = (size: number, address: number, segment: number) => {
      try {
        repMovs(size, address, segment);
      } catch (error) {
        this.caught(error);
      }
    };
    wrapped.repStos = (size: number, address: number) => {
      try {
        repStos(size, address);
      } catch (error) {
        this.caught(error);
      }
    };
    return wrapped;
  }

  /** `call` with unsigned arguments (WebAssembly hands i64 over as signed), its exception made pending. */
  private pending(call: GeneralFunction, { parameters, result }: RuntimeSignature): GeneralFunction {
    const zero = result === 'i64' ? 0n : 0;
    const [wide0, wide1, wide2] = [0, 1, 2].map((position) => parameters[position] === 'i64');
    if (wide0 || wide1 || wide2) {
      return (first, second, third, fourth) => {
        try {
          return call(
            wide0 ? BigInt.asUintN(64, first as bigint) : first,
            wide1 ? BigInt.asUintN(64, second as bigint) : second,
            wide2 ? BigInt.asUintN(64, third as bigint) : third,
            fourth,
          );
        } catch (error) {
          this.caught(error);
          return zero;
        }
      };
    }
    return (first, second, third, fourth) => {
      try {
        return call(first, second, third, fourth);
      } catch (error) {
        this.caught(error);
        return zero;
      }
    };
  }

  // Events.

  private deliver(vector: number, errorCode: number | undefined, kind: 'hardware' | 'exception'): VcpuExit | undefined {
    this.halted = false;
    this.shadow = false;
    this.stackShadow = false;
    try {
      if (transfer.deliverUsual(this.transferContext, vector, errorCode ?? -1, kind === 'exception')) return undefined;
    } catch (error) {
      // It comes again, and is combined with this event.
      if (!(error instanceof GuestFault)) throw error;
    }
    const rip = this.cpu.get(STATE.rip);
    const outcome = transfer.deliverEvent(this.transferContext, { vector, errorCode, kind }, rip);
    if (outcome === 'shutdown') {
      return { kind: 'shutdown', reason: `triple fault (last exception ${vector} at rip 0x${rip.toString(16)})` };
    }
    return undefined;
  }

  /** Takes what waits between two instructions. Gives an exit, or nothing. */
  private takeEvents(): VcpuExit | undefined {
    if (this.stackShadow) return undefined;
    if (this.debugTraps !== 0 || this.taskTrap) {
      const bits = this.debugTraps;
      this.debugTraps = 0;
      this.taskTrap = false;
      this.cpu.set(STATE.dr6, this.cpu.get(STATE.dr6) | BigInt(bits));
      const exit = this.deliver(DB, undefined, 'exception');
      if (exit !== undefined) return exit;
    }
    if (this.shadow) return undefined;
    if (!this.nmiBlocked && (this.nmiPending || this.host.takeNmi())) {
      this.nmiPending = false;
      this.nmiBlocked = true;
      return this.deliver(2, undefined, 'hardware');
    }
    this.cpu.set32(STATE.interruptWaiting, 0);
    if (!this.host.interruptPending()) return undefined;
    if ((this.eflagsSystem & EFLAGS.IF) === 0) {
      this.cpu.set32(STATE.interruptWaiting, 1);
      return undefined;
    }
    const vector = this.host.acknowledgeInterrupt();
    if (vector < 0) return undefined;
    const exit = this.deliver(vector, undefined, 'hardware');
    if (this.host.interruptPending()) this.cpu.set32(STATE.interruptWaiting, 1);
    return exit;
  }

  run(): VcpuExit {
    this.tiers.start();
    try {
      for (;;) {
        const exit = this.turn();
        if (exit !== undefined) return exit;
      }
    } catch (error) {
      if (!(error instanceof RangeError) && !(error instanceof WebAssembly.RuntimeError)) throw error;
      return { kind: 'internal-error', message: `${error.message}\n${this.describe()}` };
    }
  }

  private turn(): VcpuExit | undefined {
    const { view, base } = this;
    if (this.fault !== undefined) return this.settle();
    this.loopWanted = false;
    let budget = view.getInt32(base + STATE.budget.offset, true);
    if (this.halted || budget <= 0) {
      if (this.host.poll()) return { kind: 'interrupted' };
      this.translator.collect();
      if (this.slow) this.pollInterval.adapt(this.noteTier(0));
      budget = this.pollInterval.current;
      this.polled = true;
    }
    // Turns count too: exceptions and system calls that lead to each other need no jump.
    view.setInt32(base + STATE.budget.offset, budget - 1, true);
    const event = this.takeEvents();
    if (event !== undefined) return event;
    if (this.halted) {
      if ((this.eflagsSystem & EFLAGS.IF) === 0) return { kind: 'halted-forever' };
      this.host.waitForInterrupt();
      this.tiers.start();
      return undefined;
    }
    if (this.needsUpkeep) this.keepUp();
    if (this.slow || this.shadow || this.stackShadow || this.singleNext) return this.slowTurn();
    this.enter();
    return this.settle();
  }

  /** Room is wanted, which there is when no generated code is on its way. */
  private get needsUpkeep(): boolean {
    return this.code.full || this.code.wantsSettling || this.translator.isCrowded;
  }

  private keepUp(): void {
    if (this.code.full) this.flushCode();
    if (this.translator.isCrowded) this.translator.evict();
    this.code.settle();
  }

  private flushCode(): void {
    if (this.code.relieve()) return;
    this.code.flush();
    this.translator.dropRegions();
  }

  /** Runs generated code from rip on until it returns. */
  private enter(): void {
    try {
      let record = this.polled || this.translatesFirst ? 0 : this.mmu.knownRecord();
      if (record === 0) record = this.resolve();
      if (record !== 0) {
        if (this.polled) {
          this.polled = false;
          this.pollInterval.adapt(this.noteTier(record));
          if (this.isSampled) {
            const around = this.around(this.cpu.get(STATE.rip));
            if (this.translator.sample(this.resolvedPage!, this.resolvedOffset, around)) record = this.resolve();
          }
        }
        if (record !== 0) {
          this.cpu.set(STATE.expectedReturn, NO_RETURN);
          this.cpu.set32(STATE.callDepth, 0);
          this.handlers.run(this.base, record);
        }
      }
    } catch (error) {
      this.caught(error);
    }
    this.settleRip();
  }

  /** Delivers the exception that generated code left behind. */
  private settle(): VcpuExit | undefined {
    const { fault } = this;
    this.cpu.set32(STATE.stop, 0);
    if (fault === undefined) return undefined;
    this.fault = undefined;
    return this.deliver(fault.vector, fault.errorCode, 'exception');
  }

  /** One instruction with everything that is checked around it. */
  private slowTurn(): VcpuExit | undefined {
    const trapping = (this.eflagsSystem & EFLAGS.TF) !== 0;
    const hadShadow = this.stackShadow;
    this.shadow = false;
    this.stackShadow = false;
    this.singleNext = false;
    if (!hadShadow && this.instructionBreakpoint()) return this.deliver(DB, undefined, 'exception');
    this.cpu.set32(STATE.systemFlags, this.eflagsSystem & ~EFLAGS.RF);
    const start = this.cpu.get(STATE.rip);
    this.enterSingle();
    if (this.code.full && this.fault === undefined) {
      // A pool that was full has run nothing yet.
      this.flushCode();
      this.cpu.set32(STATE.stop, 0);
      this.enterSingle();
    }
    // Between the turns of a repeated instruction RF is set, so that a breakpoint on it is met once (SDM 3B 17.3.1.1).
    if (this.slow && this.fault === undefined && this.cpu.get(STATE.rip) === start) {
      const repeated = this.currentInstruction()?.repeat ?? 'none';
      if (repeated !== 'none') this.cpu.set32(STATE.systemFlags, this.eflagsSystem | EFLAGS.RF);
    }
    // Data breakpoints are traps: an instruction that faults has not met them.
    if (this.fault !== undefined) this.debugTraps = 0;
    else if (trapping && !this.stackShadow && !this.untrapped) this.debugTraps |= DR6.BS;
    return this.settle();
  }

  /** DR0 to DR3 of kind 0 at rip, unless RF says that it was taken already. */
  private instructionBreakpoint(): boolean {
    const dr7 = this.cpu.getLow(STATE.dr7);
    if ((dr7 & 0xff) === 0 || (this.eflagsSystem & EFLAGS.RF) !== 0) return false;
    const linear = this.cpu.get(STATE.rip) + this.cpu.get(STATE.codeBase);
    let hits = 0;
    for (let k = 0; k < 4; k++) {
      if (((dr7 >> (2 * k)) & 3) === 0 || ((dr7 >> (16 + 4 * k)) & 3) !== 0) continue;
      if (this.cpu.get(DEBUG_ADDRESSES[k]!) === linear) hits |= 1 << k;
    }
    if (hits === 0) return false;
    this.cpu.set(STATE.dr6, (this.cpu.get(STATE.dr6) & ~0xfn) | BigInt(hits));
    return true;
  }

  /** Runs exactly one instruction. */
  private enterSingle(): void {
    const { cpu, view, base } = this;
    this.single = true;
    this.untrapped = false;
    // STI asks the engine, which knows what a single step is.
    cpu.set32(STATE.interruptWaiting, 1);
    try {
      let record = this.resolve();
      for (;;) {
        const handler = view.getUint16(record + RECORD.handler, true);
        const linked = handler === SPECIAL_HANDLERS.link || handler >= FIRST_REGION;
        if (record !== 0 && linked) record = view.getUint32(record + RECORD.link, true);
        else if (record !== 0 && handler === SPECIAL_HANDLERS.cross) record = this.resolveCross(record);
        else break;
      }
      if (record !== 0) {
        const copy = base + STEP_RECORDS_OFFSET;
        this.bytes.copyWithin(copy, record, record + RECORD.sizeBytes);
        view.setUint32(copy + RECORD.link, 0, true);
        const handler = view.getUint16(copy + RECORD.handler, true);
        view.setUint16(copy + RECORD.handler, this.handlers.single(handler), true);
        const next = view.getUint16(record + RECORD.ip, true) + view.getUint8(record + RECORD.length);
        this.writeSpecial(copy + RECORD.sizeBytes, SPECIAL_HANDLERS.leave, next, 0);
        const budget = view.getInt32(base + STATE.budget.offset, true);
        view.setInt32(base + STATE.budget.offset, 0, true);
        const translated = this.translatesSteps
          ? this.translator.translateSingle(this.resolvedPage!, this.resolvedOffset)
          : 0;
        const region = copy + 2 * RECORD.sizeBytes;
        if (translated !== 0) this.writeSpecial(region, translated, view.getUint16(copy + RECORD.ip, true), copy);
        // No call: it would run more than the instruction.
        cpu.set(STATE.expectedReturn, NO_RETURN);
        cpu.set32(STATE.callDepth, MAXIMUM_CALL_DEPTH);
        this.handlers.run(base, translated === 0 ? copy : region);
        view.setInt32(base + STATE.budget.offset, budget - 1, true);
      }
    } catch (error) {
      this.caught(error);
    }
    this.single = false;
    this.settleRip();
  }

  step(): StepResult {
    const { cpu } = this;
    if (this.code.full) this.flushCode();
    const trapping = (this.eflagsSystem & EFLAGS.TF) !== 0;
    if (this.fault === undefined) {
      this.shadow = false;
      this.stackShadow = false;
      const exit = this.stepOnce();
      if (exit !== undefined) return { kind: 'exit', exit };
    }
    cpu.set32(STATE.stop, 0);
    const { fault } = this;
    this.fault = undefined;
    if (fault !== undefined) {
      this.debugTraps = 0;
      return { kind: 'exception', vector: fault.vector, errorCode: this.errorCodeOf(fault) };
    }
    const traps = this.stackShadow ? 0 : this.debugTraps | (trapping && !this.untrapped ? DR6.BS : 0);
    if (traps !== 0) {
      this.debugTraps = 0;
      cpu.set(STATE.dr6, cpu.get(STATE.dr6) | BigInt(traps));
      return { kind: 'exception', vector: DB, errorCode: undefined };
    }
    return { kind: 'retired' };
  }

  /** Real-address mode has no error codes. */
  private errorCodeOf(fault: GuestFault): number | undefined {
    return (this.cpu.getLow(STATE.cr0) & CR0.PE) === 0 ? undefined : fault.errorCode;
  }

  private stepOnce(): VcpuExit | undefined {
    const { cpu } = this;
    try {
      this.enterSingle();
      // A pool that was full has run nothing yet.
      if (this.code.full) {
        this.flushCode();
        cpu.set32(STATE.stop, 0);
        this.enterSingle();
      }
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return { kind: 'internal-error', message: `${error.message}\n${this.describe()}` };
    }
    return undefined;
  }

  // State.

  getState(): VcpuState {
    const { fault } = this;
    return image.exportState(
      { cpu: this.cpu, x87: this.x87, mmu: this.mmu, host: this.host, msrs: this.msrs },
      {
        interruptShadow: this.shadow || this.stackShadow,
        nmiBlocked: this.nmiBlocked,
        nmiPending: this.nmiPending,
        halted: this.halted,
        exception: fault === undefined ? undefined : { vector: fault.vector, errorCode: fault.errorCode },
      },
    );
  }

  setState(state: VcpuState): void {
    const { cpu } = this;
    const { events } = state;
    image.importState({ cpu, x87: this.x87, mmu: this.mmu, host: this.host, msrs: this.msrs }, state);
    const protectedMode = (state.cr0 & 1n) !== 0n;
    const vm86 = (state.rflags & BigInt(EFLAGS.VM)) !== 0n;
    const dpl = (state.segments.ss.attributes & SEGMENT_ATTRIBUTE.DPL_MASK) >> SEGMENT_ATTRIBUTE.DPL_SHIFT;
    cpu.set32(STATE.cpl, protectedMode ? (vm86 ? 3 : dpl) : 0);
    cpu.set32(STATE.stop, 0);
    cpu.set32(STATE.flagKind, 0);
    this.shadow = events.interruptShadow;
    this.stackShadow = false;
    this.nmiBlocked = events.nmiBlocked;
    this.nmiPending = events.nmiPending;
    this.halted = events.halted;
    this.fault =
      events.exception === undefined ? undefined : new GuestFault(events.exception.vector, events.exception.errorCode);
    this.debugTraps = 0;
    this.systemContext.tscOffset = 0;
    this.mmu.flushAll();
    this.refreshMode();
    this.refreshBreakpoints();
  }

  invalidateCode(guestPhysical: number, lengthBytes: number): void {
    this.mmu.noteDirty(guestPhysical, lengthBytes);
    this.code.noteWrite(guestPhysical, lengthBytes);
  }

  get dirtyLog(): DirtyLog {
    return this.mmu.dirtyLog;
  }

  /** Registers and the bytes at RIP, for messages. */
  describe(): string {
    const { cpu } = this;
    const hex = (value: bigint): string => value.toString(16).padStart(16, '0');
    const registers = GPR_NAMES_64.map((name, index) => `${name.padStart(3)}=${hex(cpu.gpr(index))}`);
    const lines: string[] = [];
    for (let k = 0; k < 16; k += 4) lines.push(registers.slice(k, k + 4).join(' '));
    lines.push(
      `rip=${hex(this.currentRip())} rflags=${cpu.eflags.toString(16)} ` +
        `cpl=${cpu.get32(STATE.cpl)} code=${cpu.get32(STATE.codeSize)}`,
      `cr0=${hex(cpu.get(STATE.cr0))} cr2=${hex(cpu.get(STATE.cr2))} ` +
        `cr3=${hex(cpu.get(STATE.cr3))} cr4=${hex(cpu.get(STATE.cr4))}`,
    );
    const bytes = [...this.instructionBytes()].map((byte) => byte.toString(16).padStart(2, '0'));
    lines.push(`bytes at rip: ${bytes.join(' ') || 'unreadable'}`);
    return lines.join('\n');
  }
}

/** Unsigned RDX:RAX / divisor. */
function divide128(cpu: CpuState, divisor: bigint): void {
  const dividend = (cpu.gpr(2) << 64n) | cpu.gpr(0);
  const quotient = dividend / divisor;
  if (quotient >> 64n !== 0n) throw new GuestFault(0);
  cpu.setGpr(0, quotient);
  cpu.setGpr(2, dividend % divisor);
}

function idivide128(cpu: CpuState, divisor: bigint): void {
  const dividend = BigInt.asIntN(128, (cpu.gpr(2) << 64n) | cpu.gpr(0));
  const quotient = dividend / divisor;
  if (BigInt.asIntN(64, quotient) !== quotient) throw new GuestFault(0);
  cpu.setGpr(0, BigInt.asUintN(64, quotient));
  cpu.setGpr(2, BigInt.asUintN(64, dividend % divisor));
}
