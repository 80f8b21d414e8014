// A virtual processor on KVM: KVM_RUN and what it comes back for, on one thread. Interrupt controllers are the
// kernel's, or the VcpuHost's (as tests and the software engine have them): then interrupts are injected here.
//
//            +----------------- run loop -----------------+
//            | poll, alarm, NMI, interrupt to be injected |
//            +----------------------+---------------------+
//                                   | KVM_RUN
//            port, MMIO, MSR, HLT   |   EINTR: another thread or the alarm kicked
//
// A kick is a signal, whose handler does nothing. One that comes outside KVM_RUN is lost: timers send it again.

import { portableMsrByIndex, resetMsrs, writtenMsrValue } from '../../isa/cpuid/portable-msrs.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { MSR } from '../../isa/msrs.ts';
import { GPR_NAMES_64 } from '../../isa/registers.ts';
import type { DirtyLog } from '../dirty-log.ts';
import { GUEST_RAM_OFFSET } from '../software/layout.ts';
import type { StepResult, Vcpu, VcpuExit, VcpuHost } from '../vcpu.ts';
import { VCPU_STATE_VERSION, type VcpuState } from '../vcpu-state.ts';
import { type CpuModel, type CpuModelName, cpuidBuffer, createCpuModel } from './cpu-model.ts';
import { findDeliveredException, isSoftwareInterrupt, undoStepTrap } from './delivered-exception.ts';
import * as ioctls from './ioctls.ts';
import { KvmError } from './kvm-error.ts';
import { KvmDescriptor, type KvmVm } from './kvm-system.ts';
import {
  errnoWord,
  ioctlWithValue,
  type KickTarget,
  KickTimer,
  type Mapping,
  mapDescriptor,
  threadId,
} from './libc.ts';
import { MsrFilter } from './msr-filter.ts';
import * as image from './register-state.ts';
import { offsetOf, StructBuffer } from './struct-layout.ts';
import * as structs from './structs.ts';

const RUN = {
  requestInterruptWindow: offsetOf(structs.kvm_run, 'request_interrupt_window'),
  immediateExit: offsetOf(structs.kvm_run, 'immediate_exit'),
  exitReason: offsetOf(structs.kvm_run, 'exit_reason'),
  readyForInterrupt: offsetOf(structs.kvm_run, 'ready_for_interrupt_injection'),
  ifFlag: offsetOf(structs.kvm_run, 'if_flag'),
  cr8: offsetOf(structs.kvm_run, 'cr8'),
  mmioData: offsetOf(structs.kvm_run, 'mmio.data'),
  mmioIsWrite: offsetOf(structs.kvm_run, 'mmio.is_write'),
  msrError: offsetOf(structs.kvm_run, 'msr.error'),
  msrIndex: offsetOf(structs.kvm_run, 'msr.index'),
  msrData: offsetOf(structs.kvm_run, 'msr.data'),
} as const;

/** The same of members that are read at each exit, in words of 32 bits. */
const RUN_WORD = {
  exitReason: wordOf('exit_reason'),
  /** Direction and size in bytes, then the port. */
  ioAccess: wordOf('io.direction'),
  ioCount: wordOf('io.count'),
  ioDataOffset: wordOf('io.data_offset'),
  mmioPhysicalLow: wordOf('mmio.phys_addr'),
  mmioPhysicalHigh: wordOf('mmio.phys_addr') + 1,
  mmioLength: wordOf('mmio.len'),
} as const;

function wordOf(path: string): number {
  return offsetOf(structs.kvm_run, path) / 4;
}

/** Exits between two polls where the guest makes many. */
const EXITS_PER_POLL = 64;
/** The thread comes back to JavaScript so often at least, so that it can be ended, and a dead guest noticed. */
const HEARTBEAT_NS = 100e6;
const DEFAULT_POLL_NS = 500e3;
/** How long a guest may need to get into a handler that it is on its way to. */
const DELIVERY_NS = 50e3;
const DELIVERY_TRIES = 100;
const STEP_LIMIT_MS = 100;
const HLT = 0xf4;

const SUBERRORS: Readonly<Record<number, string>> = {
  [ioctls.KVM_INTERNAL_ERROR.EMULATION]: 'KVM cannot emulate the instruction',
  [ioctls.KVM_INTERNAL_ERROR.SIMUL_EX]: 'exceptions came at the same time that KVM cannot tell apart',
  [ioctls.KVM_INTERNAL_ERROR.DELIVERY_EV]: 'the delivery of an event failed',
  [ioctls.KVM_INTERNAL_ERROR.UNEXPECTED_EXIT_REASON]: 'the processor left the guest for an unknown reason',
};

export interface KvmVcpuOptions {
  readonly vm: KvmVm;
  readonly host: VcpuHost;
  readonly index?: number;
  readonly count?: number;
  readonly model: CpuModelName;
  /** Input clock of the local APIC's timer: the kernel's runs at 1 GHz. */
  readonly apicBusHz: number;
  /** Tell the guest of features too that KVM does not list, as tests of an incomplete KVM do. */
  readonly tellMissingFeatures?: boolean;
}

export class KvmVcpu implements Vcpu {
  readonly model: CpuModel;
  /** Rate of the guest's time-stamp counter. */
  readonly tscHz: number;
  private readonly vm: KvmVm;
  private readonly vcpu: KvmDescriptor;
  private readonly host: VcpuHost;
  private readonly kernelChips: boolean;
  private readonly mapping: Mapping;
  private readonly view: DataView;
  /** The same bytes, by which the frequent exits are read. */
  private readonly words: Uint32Array;
  private readonly alarm: KickTimer;
  /** Other threads arm it with their kicks. */
  private readonly kickAgain: KickTimer;
  private readonly sregs = new StructBuffer(structs.kvm_sregs);
  private readonly regs = new StructBuffer(structs.kvm_regs);
  private readonly events = new StructBuffer(structs.kvm_vcpu_events);
  private readonly xsaveBytes: number;
  /** Values of MSRs that KVM does not keep. */
  private readonly ownMsrs = new Map<number, bigint>();
  /** HLT where the interrupt controllers are the host's. */
  private halted = false;
  /** An access of the guest's has been answered, and its instruction not been ended yet. */
  private answered = false;
  /** An interrupt can be injected before the next entry: KVM said so, or the state that was set. */
  private readyForInterrupt = false;
  private pollDue = true;
  private exitsToPoll = EXITS_PER_POLL;
  private alarmNs = Number.POSITIVE_INFINITY;
  private exitsAtHeartbeat = -1;
  private closed = false;
  /** Held as long as KVM may look at its bitmaps. */
  private msrFilter: MsrFilter | undefined;
  private readonly counts = { exits: 0, portExits: 0, mmioExits: 0, msrExits: 0, halts: 0, kicks: 0, injections: 0 };

  constructor(options: KvmVcpuOptions) {
    const { vm, host } = options;
    const index = options.index ?? 0;
    this.vm = vm;
    this.host = host;
    this.kernelChips = vm.chips === 'kernel';
    const { system } = vm;
    this.vcpu = new KvmDescriptor(vm.call(ioctls.KVM_CREATE_VCPU, index));
    let mapping: Mapping | undefined;
    let alarm: KickTimer | undefined;
    try {
      mapping = mapDescriptor(this.vcpu.descriptor, system.call(ioctls.KVM_GET_VCPU_MMAP_SIZE));
      this.tscHz = this.vcpu.call(ioctls.KVM_GET_TSC_KHZ) * 1000;
      this.model = createCpuModel(options.model, {
        supported: system.supportedCpuid(),
        tscDeadline: system.extension(ioctls.KVM_CAP.TSC_DEADLINE_TIMER) !== 0,
        msrIndexes: system.msrIndexes(),
        kernelChips: this.kernelChips,
        apicId: index,
        cpuCount: options.count ?? 1,
        tscHz: this.tscHz,
        apicBusHz: options.apicBusHz,
        tellMissing: options.tellMissingFeatures ?? false,
      });
      this.vcpu.exchange(ioctls.KVM_SET_CPUID2, cpuidBuffer(this.model.entries), `model ${this.model.name}`);
      this.takeMsrs();
      this.xsaveBytes = Math.max(vm.extension(ioctls.KVM_CAP.XSAVE2), structs.kvm_xsave.sizeBytes);
      alarm = new KickTimer();
      this.kickAgain = new KickTimer();
    } catch (error) {
      alarm?.delete();
      mapping?.unmap();
      this.vcpu.close();
      throw error;
    }
    this.alarm = alarm;
    this.mapping = mapping;
    this.view = new DataView(mapping.buffer);
    this.words = new Uint32Array(mapping.buffer);
  }

  private takeMsrs(): void {
    const { vm, model } = this;
    for (const [index, value] of resetMsrs()) if (model.ownMsrs.includes(index)) this.ownMsrs.set(index, value);
    const { INVAL, UNKNOWN, FILTER } = ioctls.KVM_MSR_EXIT_REASON;
    vm.enable(ioctls.KVM_CAP.X86_USER_SPACE_MSR, BigInt(INVAL | UNKNOWN | FILTER));
    this.msrFilter = new MsrFilter(model.passedMsrs);
    vm.exchange(ioctls.KVM_X86_SET_MSR_FILTER, this.msrFilter.buffer);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.alarm.delete();
    this.kickAgain.delete();
    this.mapping.unmap();
    this.vcpu.close();
  }

  /** For kickThread, from other threads. Of the thread that made the processor, which is the one that runs it. */
  get kickTarget(): KickTarget {
    return { thread: threadId(), timer: this.kickAgain.number };
  }

  /** An ioctl on the processor, for states that are not in VcpuState: the kernel's local APIC. */
  exchange(ioctl: ioctls.Ioctl, buffer: StructBuffer): void {
    this.vcpu.exchange(ioctl, buffer);
  }

  /**
   * The processor goes on after a pause: a guest that has the paravirtual clock is told, so that its watchdogs know
   * that the time was not theirs. False where it has none.
   */
  noteResume(): boolean {
    return ioctlWithValue(this.vcpu.descriptor, ioctls.KVM_KVMCLOCK_CTRL.number, 0) >= 0;
  }

  requestNmi(): void {
    this.vcpu.call(ioctls.KVM_NMI);
  }

  statistics(): Readonly<Record<string, number>> {
    return { ...this.counts };
  }

  // Running.

  run(): VcpuExit {
    try {
      return this.runUntilExit();
    } finally {
      this.quietenTimers();
    }
  }

  /** They would go off on and on, and break off system calls of whatever this thread does next. */
  private quietenTimers(): void {
    this.alarm.disarm();
    this.kickAgain.disarm();
    this.alarmNs = Number.POSITIVE_INFINITY;
  }

  private runUntilExit(): VcpuExit {
    const { host } = this;
    this.pollDue = true;
    for (;;) {
      let pending = host.interruptPending();
      if (this.pollDue || pending) {
        this.pollDue = false;
        this.exitsToPoll = EXITS_PER_POLL;
        // Before looking: who kicks after that arms it again.
        this.kickAgain.disarm();
        if (host.poll()) return this.leave({ kind: 'interrupted' });
        pending = host.interruptPending();
      }
      const halt = this.takeEvents(pending);
      if (halt !== undefined) return this.leave(halt);
      if (this.halted) {
        host.waitForInterrupt();
        this.pollDue = true;
        continue;
      }
      this.setAlarm();
      const exit = this.enter();
      if (exit !== undefined) return exit;
    }
  }

  /** What waits between two instructions. Gives an exit where nothing can ever come any more. */
  private takeEvents(pending: boolean): VcpuExit | undefined {
    const { host, view } = this;
    // NMIs come from the kernel's local APIC then, as interrupts do.
    if (this.kernelChips) return undefined;
    if (host.takeNmi()) {
      this.requestNmi();
      // One that is blocked waits in KVM, and does not end a HLT.
      this.halted &&= this.isNmiBlocked();
    }
    let isWaiting = pending;
    if (pending && this.readyForInterrupt && !this.answered) {
      const vector = host.acknowledgeInterrupt();
      if (vector >= 0) this.inject(vector);
      isWaiting = host.interruptPending();
    }
    view.setUint8(RUN.requestInterruptWindow, isWaiting ? 1 : 0);
    if (this.halted && !this.readyForInterrupt) return { kind: 'halted-forever' };
    return undefined;
  }

  private isNmiBlocked(): boolean {
    this.vcpu.exchange(ioctls.KVM_GET_VCPU_EVENTS, this.events);
    return this.events.get('nmi.masked') !== 0;
  }

  private inject(vector: number): void {
    const buffer = new StructBuffer(structs.kvm_interrupt);
    buffer.set('irq', vector);
    this.vcpu.exchange(ioctls.KVM_INTERRUPT, buffer);
    this.counts.injections++;
    this.halted = false;
    this.readyForInterrupt = false;
  }

  /** Has the kernel kick this thread when poll() is due. */
  private setAlarm(): void {
    const { deadline } = this.host;
    const isSet = this.alarmNs !== Number.POSITIVE_INFINITY;
    if (deadline === undefined) {
      if (isSet) return;
      this.alarmNs = 0;
      this.alarm.arm(DEFAULT_POLL_NS / 1e6);
      return;
    }
    const nextNs = deadline.nextNs();
    // One that comes too early does no harm.
    if (isSet && this.alarmNs <= nextNs) return;
    const nowNs = deadline.nowNs();
    this.alarmNs = Math.min(nextNs, nowNs + HEARTBEAT_NS);
    this.alarm.arm(Math.max(0, this.alarmNs - nowNs) / 1e6);
  }

  /** One KVM_RUN and the answer to what it came back for. */
  private enter(): VcpuExit | undefined {
    const { view } = this;
    // KVM takes CR8 from there at each entry, also at one that only ends an access: the access may have changed it. The
    // upper half is never set.
    if (!this.kernelChips) view.setUint32(RUN.cr8, this.host.getCr8(), true);
    const result = ioctlWithValue(this.vcpu.descriptor, ioctls.KVM_RUN.number, 0);
    this.answered = false;
    if (!this.kernelChips) {
      this.host.setCr8(view.getUint8(RUN.cr8) & 0xf);
      this.readyForInterrupt = view.getUint8(RUN.readyForInterrupt) !== 0 && view.getUint8(RUN.ifFlag) !== 0;
    }
    if (result < 0) return this.interrupted(-result);
    this.counts.exits++;
    if (--this.exitsToPoll <= 0) this.pollDue = true;
    switch (this.words[RUN_WORD.exitReason]) {
      case ioctls.KVM_EXIT.IO:
        this.accessPorts();
        return undefined;
      case ioctls.KVM_EXIT.MMIO:
        this.accessMmio();
        return undefined;
      case ioctls.KVM_EXIT.HLT:
        this.counts.halts++;
        this.halted = true;
        // HLT ends a shadow, so that IF alone decides.
        this.readyForInterrupt = view.getUint8(RUN.ifFlag) !== 0;
        this.pollDue = true;
        return undefined;
      case ioctls.KVM_EXIT.X86_RDMSR:
        this.readMsr();
        return undefined;
      case ioctls.KVM_EXIT.X86_WRMSR:
        this.writeMsr();
        return undefined;
      case ioctls.KVM_EXIT.IRQ_WINDOW_OPEN:
      case ioctls.KVM_EXIT.INTR:
      // CR8 is lower now: the host has heard it above.
      case ioctls.KVM_EXIT.SET_TPR:
        return undefined;
      default:
        return this.failed();
    }
  }

  private interrupted(errno: number): VcpuExit | undefined {
    const word = errnoWord(errno);
    if (word === 'EAGAIN') return undefined;
    if (word !== 'EINTR') {
      const { message, hint } = new KvmError(ioctls.KVM_RUN.name, word);
      return this.internalError(message, hint);
    }
    this.counts.kicks++;
    this.alarmNs = Number.POSITIVE_INFINITY;
    this.pollDue = true;
    return this.kernelChips ? this.findDeath() : undefined;
  }

  /** In the kernel a processor that has halted with interrupts off is as quiet as one that waits: one has to look. */
  private findDeath(): VcpuExit | undefined {
    const { exits } = this.counts;
    const isQuiet = exits === this.exitsAtHeartbeat;
    this.exitsAtHeartbeat = exits;
    if (!isQuiet || this.view.getUint8(RUN.ifFlag) !== 0) return undefined;
    if (this.readMpState() !== ioctls.KVM_MP_STATE.HALTED) return undefined;
    return { kind: 'halted-forever' };
  }

  private failed(): VcpuExit {
    const { view } = this;
    const reason = view.getUint32(RUN.exitReason, true);
    const run = new StructBuffer(structs.kvm_run, new Uint8Array(this.mapping.buffer, 0, structs.kvm_run.sizeBytes));
    switch (reason) {
      case ioctls.KVM_EXIT.DEBUG:
        // A single step is done.
        return { kind: 'interrupted' };
      case ioctls.KVM_EXIT.SHUTDOWN:
        return { kind: 'shutdown', reason: 'triple fault' };
      case ioctls.KVM_EXIT.FAIL_ENTRY: {
        const code = run.get64('fail_entry.hardware_entry_failure_reason').toString(16);
        return this.internalError(`the processor refused the guest's state (0x${code})`);
      }
      case ioctls.KVM_EXIT.INTERNAL_ERROR: {
        const suberror = run.get('internal.suberror');
        const what = SUBERRORS[suberror] ?? `KVM reports internal error ${suberror}`;
        return this.internalError(what, 'bulkhead doctor says what this KVM lacks; --engine software has it');
      }
      default:
        return this.internalError(`KVM_RUN came back with exit ${reason}`);
    }
  }

  private internalError(what: string, hint?: string): VcpuExit {
    let registers: string;
    try {
      registers = this.describe();
    } catch (error) {
      // A VM that KVM has given up answers nothing any more: the reason is still worth telling.
      if (!(error instanceof KvmError)) throw error;
      registers = `its registers cannot be read: ${error.failure}`;
    }
    const message = `${what}\n${registers}`;
    return { kind: 'internal-error', message, ...(hint !== undefined && { hint }) };
  }

  // Accesses.

  private accessPorts(): void {
    const { words, host } = this;
    this.counts.portExits++;
    this.answered = true;
    const access = words[RUN_WORD.ioAccess]!;
    const isWrite = (access & 0xff) === ioctls.KVM_EXIT_IO_OUT;
    const sizeBytes = (access >> 8) & 0xff;
    const port = access >>> 16;
    let at = words[RUN_WORD.ioDataOffset]!;
    for (let rest = words[RUN_WORD.ioCount]!; rest > 0; rest--, at += sizeBytes) {
      if (isWrite) host.writePort(port, sizeBytes, this.load(at, sizeBytes));
      else this.store(at, sizeBytes, host.readPort(port, sizeBytes));
    }
  }

  private accessMmio(): void {
    const { view, words, host } = this;
    this.counts.mmioExits++;
    this.answered = true;
    // Physical addresses have 52 bits: a double holds them.
    const guestPhysical = words[RUN_WORD.mmioPhysicalLow]! + words[RUN_WORD.mmioPhysicalHigh]! * 2 ** 32;
    const lengthBytes = words[RUN_WORD.mmioLength]!;
    const isWrite = view.getUint8(RUN.mmioIsWrite) !== 0;
    for (let done = 0; done < lengthBytes; ) {
      const rest = lengthBytes - done;
      const sizeBytes = rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
      const at = RUN.mmioData + done;
      if (isWrite) host.writeMmio(guestPhysical + done, sizeBytes, this.load(at, sizeBytes));
      else this.store(at, sizeBytes, host.readMmio(guestPhysical + done, sizeBytes));
      done += sizeBytes;
    }
  }

  private load(at: number, sizeBytes: number): number {
    const { view } = this;
    return sizeBytes === 1 ? view.getUint8(at) : sizeBytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
  }

  private store(at: number, sizeBytes: number, value: number): void {
    const { view } = this;
    if (sizeBytes === 1) view.setUint8(at, value);
    else if (sizeBytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }

  private readMsr(): void {
    const { view } = this;
    this.counts.msrExits++;
    this.answered = true;
    const index = view.getUint32(RUN.msrIndex, true);
    const value = this.ownMsrs.get(index) ?? this.host.readMsr(index);
    view.setUint8(RUN.msrError, value === undefined ? 1 : 0);
    view.setBigUint64(RUN.msrData, value ?? 0n, true);
  }

  private writeMsr(): void {
    const { view } = this;
    this.counts.msrExits++;
    this.answered = true;
    const index = view.getUint32(RUN.msrIndex, true);
    const done = this.writeOwnMsr(index, view.getBigUint64(RUN.msrData, true));
    view.setUint8(RUN.msrError, done ? 0 : 1);
  }

  private writeOwnMsr(index: number, value: bigint): boolean {
    const current = this.ownMsrs.get(index);
    const definition = portableMsrByIndex.get(index);
    if (current === undefined || definition === undefined) return this.host.writeMsr(index, value);
    const written = writtenMsrValue(definition, current, value);
    if (written !== undefined) this.ownMsrs.set(index, written);
    return written !== undefined;
  }

  // Stopping: the state is whole when run() returns.

  private leave(exit: VcpuExit): VcpuExit {
    let other = this.complete();
    for (let tries = 0; other === undefined && this.isDelivering(); tries++) {
      // The canonical state has no place for an interrupt that was acknowledged: its handler is entered first.
      if (tries === DELIVERY_TRIES) return this.internalError('an interrupt on its way did not reach its handler');
      this.alarm.arm(DELIVERY_NS / 1e6);
      this.alarmNs = Number.POSITIVE_INFINITY;
      other = this.enter() ?? this.complete();
    }
    // A guest that sleeps for ever is found again by the next run(); what else there is happens once.
    if (other === undefined || other.kind === 'halted-forever' || exit.kind !== 'interrupted') return exit;
    return other;
  }

  private isDelivering(): boolean {
    this.vcpu.exchange(ioctls.KVM_GET_VCPU_EVENTS, this.events);
    return image.isDelivering(this.events);
  }

  /** Ends the instruction whose access has been answered, and runs none after it. Gives an exit where it cannot end. */
  private complete(): VcpuExit | undefined {
    while (this.answered) {
      this.view.setUint8(RUN.immediateExit, 1);
      try {
        const exit = this.enter();
        if (exit !== undefined) return exit;
      } finally {
        this.view.setUint8(RUN.immediateExit, 0);
      }
    }
    return undefined;
  }

  // State.

  getState(): VcpuState {
    const { vcpu, regs, sregs, events } = this;
    const debugregs = new StructBuffer(structs.kvm_debugregs);
    const xcrs = new StructBuffer(structs.kvm_xcrs);
    const xsave = new Uint8Array(this.xsaveBytes);
    // First: KVM takes a pending INIT or SIPI with it, which changes CS and RIP.
    const halted = this.kernelChips ? this.readMpState() === ioctls.KVM_MP_STATE.HALTED : this.halted;
    vcpu.exchange(ioctls.KVM_GET_REGS, regs);
    vcpu.exchange(ioctls.KVM_GET_SREGS, sregs);
    vcpu.exchange(ioctls.KVM_GET_DEBUGREGS, debugregs);
    vcpu.exchange(ioctls.KVM_GET_XCRS, xcrs);
    vcpu.exchange(ioctls.KVM_GET_XSAVE, xsave);
    vcpu.exchange(ioctls.KVM_GET_VCPU_EVENTS, events);
    const fields = image.readSregs(sregs);
    return {
      version: VCPU_STATE_VERSION,
      ...image.readRegs(regs),
      ...fields,
      cr8: this.kernelChips ? fields.cr8 : BigInt(this.host.getCr8()),
      xcr0: image.readXcr0(xcrs),
      debug: image.readDebugregs(debugregs),
      msrs: new Map([...this.ownMsrs, ...this.getMsrs(this.model.stateMsrs)]),
      xsave: image.readXsave(xsave),
      events: image.readEvents(events, halted),
    };
  }

  setState(state: VcpuState): void {
    if (state.version !== VCPU_STATE_VERSION) throw new RangeError(`unknown processor state version ${state.version}`);
    const { vcpu, regs, sregs, events } = this;
    image.writeRegs(regs, state);
    vcpu.exchange(ioctls.KVM_SET_REGS, regs);
    vcpu.exchange(ioctls.KVM_SET_XCRS, image.xcrsOf(state), `XCR0 ${state.xcr0.toString(16)}`);
    vcpu.exchange(ioctls.KVM_SET_XSAVE, image.xsaveOf(state, this.xsaveBytes));
    vcpu.exchange(ioctls.KVM_GET_SREGS, sregs);
    image.writeSregs(sregs, state);
    const { cr0, cr4, efer } = state;
    const detail = `CR0 ${cr0.toString(16)}, CR4 ${cr4.toString(16)}, EFER ${efer.toString(16)}`;
    vcpu.exchange(ioctls.KVM_SET_SREGS, sregs, detail);
    this.setAllMsrs(state.msrs);
    image.writeEvents(events, state);
    vcpu.exchange(ioctls.KVM_SET_VCPU_EVENTS, events);
    vcpu.exchange(ioctls.KVM_SET_DEBUGREGS, image.debugregsOf(state));
    const { halted, interruptShadow, exception } = state.events;
    this.writeMpState(halted && this.kernelChips ? ioctls.KVM_MP_STATE.HALTED : ioctls.KVM_MP_STATE.RUNNABLE);
    if (!this.kernelChips) {
      this.host.setCr8(Number(state.cr8));
      this.halted = halted;
    }
    this.answered = false;
    this.exitsAtHeartbeat = -1;
    const interruptible = (state.rflags & BigInt(EFLAGS.IF)) !== 0n;
    this.readyForInterrupt = interruptible && !interruptShadow && exception === undefined;
  }

  private readMpState(): number {
    const buffer = new StructBuffer(structs.kvm_mp_state);
    this.vcpu.exchange(ioctls.KVM_GET_MP_STATE, buffer);
    return buffer.get('mp_state');
  }

  private writeMpState(value: number): void {
    const buffer = new StructBuffer(structs.kvm_mp_state);
    buffer.set('mp_state', value);
    this.vcpu.exchange(ioctls.KVM_SET_MP_STATE, buffer);
  }

  /** An MSR that the state does not name has its reset value. */
  private setAllMsrs(given: ReadonlyMap<number, bigint>): void {
    const values = new Map([...resetMsrs(), ...given]);
    this.setMsrs(new Map(this.model.stateMsrs.map((index) => [index, values.get(index) ?? 0n])));
    for (const index of this.ownMsrs.keys()) this.ownMsrs.set(index, values.get(index)!);
  }

  /** Values of MSRs that KVM keeps. Throws KvmError where it does not have one. */
  getMsrs(indexes: readonly number[]): Map<number, bigint> {
    const buffer = msrBuffer(new Map(indexes.map((index) => [index, 0n])));
    const count = this.vcpu.exchange(ioctls.KVM_GET_MSRS, buffer);
    if (count < indexes.length) throw new KvmError('KVM_GET_MSRS', 'EINVAL', msrName(indexes[count]!));
    const view = new DataView(buffer.buffer);
    const { kvm_msrs: head, kvm_msr_entry: entry } = structs;
    const dataOffset = offsetOf(entry, 'data');
    return new Map(
      indexes.map((index, at) => [index, view.getBigUint64(head.sizeBytes + at * entry.sizeBytes + dataOffset, true)]),
    );
  }

  /** Throws KvmError where KVM refuses one. */
  setMsrs(values: ReadonlyMap<number, bigint>): void {
    const count = this.vcpu.exchange(ioctls.KVM_SET_MSRS, msrBuffer(values));
    const refused = [...values][count];
    if (refused === undefined) return;
    const [index, value] = refused;
    throw new KvmError('KVM_SET_MSRS', 'EINVAL', `${msrName(index)} does not take 0x${value.toString(16)}`);
  }

  /** The guest's time-stamp counter. */
  get timeStampCounter(): bigint {
    return this.getMsrs([MSR.IA32_TIME_STAMP_COUNTER]).get(MSR.IA32_TIME_STAMP_COUNTER)!;
  }

  set timeStampCounter(value: bigint) {
    this.setMsrs(new Map([[MSR.IA32_TIME_STAMP_COUNTER, value]]));
  }

  invalidateCode(guestPhysical: number, lengthBytes: number): void {
    // The processor's caches are coherent with what anybody writes; page tables that KVM shadows are not.
    this.vm.noteHostWrite(guestPhysical, lengthBytes);
  }

  get dirtyLog(): DirtyLog {
    return this.vm.dirtyLog;
  }

  // Single steps.

  step(): StepResult {
    const before = this.getState();
    const opcode = this.bytesAt(this.linearRip(before), 15);
    this.setGuestDebug(ioctls.KVM_GUESTDBG.ENABLE | ioctls.KVM_GUESTDBG.SINGLESTEP | ioctls.KVM_GUESTDBG.BLOCKIRQ);
    let exit: VcpuExit | undefined;
    try {
      exit = this.runOneStep();
    } finally {
      this.quietenTimers();
      this.setGuestDebug(0);
    }
    const after = this.getState();
    if (this.bytesAt(this.linearRip(after) - 1n, 1)[0] === HLT) this.repeatHalt(after);
    const stepped = undoStepTrap(before, after, (linear, lengthBytes) => this.bytesAt(linear, lengthBytes));
    if (stepped !== undefined) {
      this.setState(stepped);
      return { kind: 'retired' };
    }
    const delivered = isSoftwareInterrupt(opcode)
      ? undefined
      : findDeliveredException(before, after, (linear, lengthBytes) => this.bytesAt(linear, lengthBytes));
    if (delivered !== undefined) {
      const { cr2, debug } = after;
      this.setState({ ...before, cr2, debug });
      return { kind: 'exception', ...delivered };
    }
    return exit === undefined ? { kind: 'retired' } : { kind: 'exit', exit };
  }

  /**
   * A step over HLT ends as a step, and KVM's emulator keeps the halt for the next instruction that it runs: it runs
   * the same HLT once more.
   */
  private repeatHalt(after: VcpuState): void {
    this.setState({ ...after, rip: after.rip - 1n });
    const exit = this.enter();
    if (exit !== undefined) throw new Error(`a repeated HLT gave ${exit.kind}`);
  }

  /** Until the debug exit, or HLT in the handler of an exception. */
  private runOneStep(): VcpuExit | undefined {
    const endMs = performance.now() + STEP_LIMIT_MS;
    const { halts } = this.counts;
    do {
      // Kicks may be old ones.
      this.alarm.arm(STEP_LIMIT_MS);
      this.alarmNs = Number.POSITIVE_INFINITY;
      const exit = this.enter();
      if (exit !== undefined) return exit.kind === 'interrupted' ? undefined : exit;
    } while (this.counts.halts === halts && performance.now() < endMs);
    return undefined;
  }

  private setGuestDebug(control: number): void {
    const buffer = new StructBuffer(structs.kvm_guest_debug);
    buffer.set('control', control);
    this.vcpu.exchange(ioctls.KVM_SET_GUEST_DEBUG, buffer);
  }

  // Messages.

  private linearRip({ rip, segments }: VcpuState): bigint {
    return BigInt.asUintN(64, segments.cs.base + rip);
  }

  /** What the guest has at a linear address, as far as it is mapped and RAM. */
  private bytesAt(linear: bigint, lengthBytes: number): Uint8Array {
    const found: number[] = [];
    const ram = new Uint8Array(this.vm.memory.buffer, GUEST_RAM_OFFSET, this.vm.ramBytes);
    const translation = new StructBuffer(structs.kvm_translation);
    for (let k = 0; k < lengthBytes; k++) {
      const at = linear + BigInt(k);
      if (k === 0 || (at & 0xfffn) === 0n) {
        translation.set64('linear_address', at);
        this.vcpu.exchange(ioctls.KVM_TRANSLATE, translation);
        if (translation.get('valid') === 0) break;
      }
      const page = translation.get64('physical_address') & ~0xfffn;
      const byte = ram[Number(page | (at & 0xfffn))];
      if (byte === undefined) break;
      found.push(byte);
    }
    return Uint8Array.from(found);
  }

  /** Registers and the bytes at RIP, for messages. */
  describe(): string {
    const state = this.getState();
    const hex = (value: bigint): string => value.toString(16).padStart(16, '0');
    const registers = GPR_NAMES_64.map((name, index) => `${name.padStart(3)}=${hex(state.gpr[index]!)}`);
    const lines: string[] = [];
    for (let k = 0; k < 16; k += 4) lines.push(registers.slice(k, k + 4).join(' '));
    const cpl = (state.segments.ss.attributes >> 5) & 3;
    lines.push(`rip=${hex(state.rip)} rflags=${state.rflags.toString(16)} cpl=${cpl} cs=${state.segments.cs.selector}`);
    lines.push(`cr0=${hex(state.cr0)} cr2=${hex(state.cr2)} cr3=${hex(state.cr3)} cr4=${hex(state.cr4)}`);
    const bytes = [...this.bytesAt(this.linearRip(state), 15)].map((byte) => byte.toString(16).padStart(2, '0'));
    lines.push(`bytes at rip: ${bytes.join(' ') || 'unreadable'}`);
    return lines.join('\n');
  }
}

const msrName = (index: number): string => portableMsrByIndex.get(index)?.name ?? `MSR 0x${index.toString(16)}`;

function msrBuffer(values: ReadonlyMap<number, bigint>): Uint8Array {
  const { kvm_msrs: head, kvm_msr_entry: layout } = structs;
  const buffer = new StructBuffer(head, values.size * layout.sizeBytes);
  buffer.set('nmsrs', values.size);
  [...values].forEach(([index, value], position) => {
    const at = head.sizeBytes + position * layout.sizeBytes;
    const entry = new StructBuffer(layout, buffer.bytes.subarray(at, at + layout.sizeBytes));
    entry.set('index', index);
    entry.set64('data', value);
  });
  return buffer.bytes;
}
