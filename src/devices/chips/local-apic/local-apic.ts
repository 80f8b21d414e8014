// The local APIC in xAPIC and x2APIC mode (SDM 3A chapter 11): IRR, ISR and priorities, EOI, inter-processor
// interrupts, local vector table. It belongs to one processor; its timer is in timer.ts. The page stays at 0xfee00000:
// a guest that moves it by IA32_APIC_BASE finds it nowhere.

import type { Timers } from '../../../base/timers.ts';
import { type ApicBus, type ApicBusAgent, DELIVERY_MODE } from '../../../bus/apic-bus.ts';
import {
  initialRegisters,
  LOCAL_APIC_STATE_VERSION,
  type LocalApicRegisters,
  type LocalApicState,
  resetApicBase,
  restoreRegisters,
  saveRegisters,
} from './state.ts';
import { LocalApicTimer, type TimeStampCounter } from './timer.ts';
import {
  APIC,
  APIC_BASE,
  APIC_VERSION,
  DFR,
  DIVIDE_WRITABLE,
  ESR,
  ICR,
  LOCAL_APIC_BASE,
  LVT,
  LVT_READ_ONLY,
  LVT_WRITABLE,
  MSR_INDEX,
  SHORTHAND,
  SVR,
} from './wire.ts';

/** The processor that owns the local APIC. INIT and SIPI change its state before its next instruction. */
export interface IpiSink {
  /** What `pendingVector`, `nmiPending` say may have changed: look before the next instruction, wake from HLT. */
  onPendingChanged(): void;
  onInit(): void;
  /** Start at vector << 12 in real mode, where the processor waits for it; ignored otherwise. */
  onStartup(vector: number): void;
}

/** The 8259A pair as its INTR wire reaches LINT0. */
export interface ExternalInterruptController {
  peekVector(): number;
  acknowledge(): number;
}

export interface LocalApicOptions {
  apicId: number;
  isBootProcessor: boolean;
  timers: Timers;
  timeStampCounter: TimeStampCounter;
  bus: ApicBus;
  /** Answers the acknowledge cycle of an ExtINT; the boot processor's only, as LINT0 is wired to it. */
  external: ExternalInterruptController | undefined;
  sink: IpiSink;
  /** MAXPHYADDR of the processor (CPUID 0x80000008): address bits above it are reserved in IA32_APIC_BASE. */
  physicalAddressBits: number;
}

const LVT_INDEX = { TIMER: 0, LINT0: 3, LINT1: 4, ERROR: 5 } as const;

/** First vector that an interrupt may have. */
const FIRST_LEGAL_VECTOR = 16;

const highestBit = (words: Uint32Array): number => {
  for (let i = 7; i >= 0; i--) {
    const word = words[i]!;
    if (word !== 0) return i * 32 + 31 - Math.clz32(word);
  }
  return -1;
};

const setBit = (words: Uint32Array, vector: number): void => {
  words[vector >> 5]! |= 1 << (vector & 31);
};

const clearBit = (words: Uint32Array, vector: number): void => {
  words[vector >> 5]! &= ~(1 << (vector & 31));
};

const hasBit = (words: Uint32Array, vector: number): boolean => (words[vector >> 5]! & (1 << (vector & 31))) !== 0;

/** One local APIC. MSR calls answer undefined or false where the instruction must raise #GP(0). */
export class LocalApic implements ApicBusAgent {
  readonly apicId: number;
  private readonly options: LocalApicOptions;
  private readonly timers: Timers;
  private readonly bus: ApicBus;
  private readonly timer: LocalApicTimer;
  private registers: LocalApicRegisters;
  private readonly irr = new Uint32Array(8);
  private readonly isr = new Uint32Array(8);
  private readonly tmr = new Uint32Array(8);
  private ppr = 0;
  /** Vector that the processor would take now, -1 for none; ExtINT apart. */
  private deliverable = -1;
  private externalDeliverable = false;

  constructor(options: LocalApicOptions) {
    this.options = options;
    this.apicId = options.apicId;
    this.timers = options.timers;
    this.bus = options.bus;
    this.registers = initialRegisters(resetApicBase(options.isBootProcessor));
    this.timer = new LocalApicTimer(
      options.timers,
      options.timeStampCounter,
      () => this.registers,
      () => this.raiseLocal(LVT_INDEX.TIMER),
    );
    this.bus.attach(this);
  }

  // --- the processor's side ---

  /**
   * The vector of the interrupt that may be delivered now, -1 for none. RFLAGS.IF and interrupt shadows are the
   * processor's own affair.
   */
  pendingVector(): number {
    return this.externalDeliverable ? this.options.external!.peekVector() : this.deliverable;
  }

  /** Whether `pendingVector` is not -1: cheap. */
  get interruptPending(): boolean {
    return this.externalDeliverable || this.deliverable >= 0;
  }

  /** Takes the pending interrupt: its vector, which is in service now. The spurious vector where it has gone. */
  acknowledge(): number {
    if (this.externalDeliverable) return this.options.external!.acknowledge();
    const vector = this.deliverable;
    if (vector < 0) return this.registers.svr & 0xff;
    clearBit(this.irr, vector);
    setBit(this.isr, vector);
    this.update();
    return vector;
  }

  get nmiPending(): boolean {
    return this.registers.nmiPending;
  }

  acknowledgeNmi(): void {
    this.registers.nmiPending = false;
  }

  get cr8(): number {
    return this.registers.tpr >> 4;
  }

  set cr8(value: number) {
    this.registers.tpr = (value & 0xf) << 4;
    this.update();
  }

  get x2apicMode(): boolean {
    return (this.registers.apicBase & APIC_BASE.EXTD) !== 0;
  }

  get globallyEnabled(): boolean {
    return (this.registers.apicBase & APIC_BASE.EN) !== 0;
  }

  /** The guest wrote its time-stamp counter: a TSC deadline lies elsewhere in time now. */
  onTimeStampCounterChanged(): void {
    this.timer.arm();
  }

  readMsr(index: number): bigint | undefined {
    if (index === MSR_INDEX.IA32_APIC_BASE) return BigInt(this.registers.apicBase);
    if (index === MSR_INDEX.IA32_TSC_DEADLINE) return this.timer.tscDeadline;
    if (!this.x2apicMode || index < MSR_INDEX.X2APIC_FIRST || index > MSR_INDEX.X2APIC_LAST) return undefined;
    const offset = (index - MSR_INDEX.X2APIC_FIRST) << 4;
    switch (offset) {
      case APIC.ID:
        return BigInt(this.apicId);
      case APIC.LDR:
        return BigInt(this.x2apicLogicalId);
      case APIC.ICR_LOW:
        return (BigInt(this.registers.icrHigh) << 32n) | BigInt(this.registers.icrLow);
      case APIC.DFR:
      case APIC.APR:
      case APIC.RRD:
      case APIC.EOI:
      case APIC.ICR_HIGH:
      case APIC.SELF_IPI:
        return undefined;
      default: {
        const value = this.readRegister(offset);
        return value === undefined ? undefined : BigInt(value);
      }
    }
  }

  writeMsr(index: number, value: bigint): boolean {
    if (index === MSR_INDEX.IA32_APIC_BASE) return this.writeApicBase(value);
    if (index === MSR_INDEX.IA32_TSC_DEADLINE) {
      this.timer.setTscDeadline(value);
      return true;
    }
    if (!this.x2apicMode || index < MSR_INDEX.X2APIC_FIRST || index > MSR_INDEX.X2APIC_LAST) return false;
    const offset = (index - MSR_INDEX.X2APIC_FIRST) << 4;
    const low = Number(value & 0xffffffffn);
    const high = Number(value >> 32n);
    if (offset === APIC.ICR_LOW) {
      if ((low & ~(ICR.WRITABLE | ICR.DELIVERY_STATUS)) !== 0) return false;
      this.registers.icrHigh = high;
      this.writeIcr(low);
      return true;
    }
    if (high !== 0 || !this.isX2apicWritable(offset, low)) return false;
    if (offset === APIC.SELF_IPI) this.accept(DELIVERY_MODE.FIXED, low, false);
    else this.writeRegister(offset, low);
    return true;
  }

  // --- the page at LOCAL_APIC_BASE ---

  /** Whether the page answers this processor; where not, the access goes on to the bus. */
  get pageEnabled(): boolean {
    const { apicBase } = this.registers;
    const base = apicBase - (apicBase % 0x1000);
    return this.globallyEnabled && !this.x2apicMode && base === LOCAL_APIC_BASE;
  }

  readMmio(offset: number, sizeBytes: number): number {
    const ones = sizeBytes === 1 ? 0xff : sizeBytes === 2 ? 0xffff : 0xffffffff;
    if (!this.pageEnabled) return ones;
    // Registers are the low 4 of each 16 bytes.
    if ((offset & 0xc) !== 0) return 0;
    const value = offset === APIC.ID ? (this.apicId << 24) >>> 0 : this.readRegister(offset & 0xff0);
    if (value === undefined) {
      this.recordError(ESR.ILLEGAL_REGISTER);
      return 0;
    }
    return ((value >>> (8 * (offset & 3))) & ones) >>> 0;
  }

  writeMmio(offset: number, sizeBytes: number, value: number): void {
    if (!this.pageEnabled || sizeBytes !== 4 || (offset & 0xf) !== 0) return;
    if (!this.writeRegister(offset, value)) this.recordError(ESR.ILLEGAL_REGISTER);
  }

  // --- the bus's side ---

  get softwareEnabled(): boolean {
    return this.globallyEnabled && (this.registers.svr & SVR.SOFTWARE_ENABLE) !== 0;
  }

  get processorPriority(): number {
    return this.ppr;
  }

  matchesPhysical(destination: number, wide: boolean): boolean {
    if (!this.globallyEnabled) return false;
    if (destination === (wide ? 0xffffffff : 0xff)) return true;
    return destination === this.apicId;
  }

  matchesLogical(destination: number, wide: boolean): boolean {
    if (!this.globallyEnabled) return false;
    if (destination === (wide ? 0xffffffff : 0xff)) return true;
    if (this.x2apicMode) {
      const own = this.x2apicLogicalId;
      return own >>> 16 === destination >>> 16 && (own & destination & 0xffff) !== 0;
    }
    const own = this.registers.ldr >>> 24;
    if (this.registers.dfr >>> 28 === DFR.FLAT) return (own & destination) !== 0;
    const cluster = destination >> 4;
    return (cluster === 0xf || cluster === own >> 4) && (own & destination & 0xf) !== 0;
  }

  accept(deliveryMode: number, vector: number, levelTriggered: boolean): boolean {
    switch (deliveryMode) {
      case DELIVERY_MODE.FIXED:
      case DELIVERY_MODE.LOWEST_PRIORITY:
        if (!this.softwareEnabled) return false;
        if (vector < FIRST_LEGAL_VECTOR) {
          this.recordError(ESR.RECEIVE_ILLEGAL_VECTOR);
          return false;
        }
        setBit(this.irr, vector);
        if (levelTriggered) setBit(this.tmr, vector);
        else clearBit(this.tmr, vector);
        this.update();
        return true;
      case DELIVERY_MODE.NMI:
        this.registers.nmiPending = true;
        this.options.sink.onPendingChanged();
        return true;
      case DELIVERY_MODE.INIT:
        this.options.sink.onInit();
        return true;
      case DELIVERY_MODE.STARTUP:
        this.options.sink.onStartup(vector);
        return true;
      default: // SMI: there is no system management mode. ExtINT arrives by LINT0.
        return false;
    }
  }

  /** The LINT0 pin: the 8259A's INTR on a PC. */
  setLint0(asserted: boolean): void {
    const rose = asserted && !this.registers.lint0;
    this.registers.lint0 = asserted;
    if (rose) this.raiseLocal(LVT_INDEX.LINT0);
    this.update();
  }

  /** The LINT1 pin: NMI on a PC. */
  setLint1(asserted: boolean): void {
    const rose = asserted && !this.registers.lint1;
    this.registers.lint1 = asserted;
    if (rose) this.raiseLocal(LVT_INDEX.LINT1);
  }

  // --- life cycle ---

  /** RESET: everything but the identity. */
  reset(): void {
    this.initialise(resetApicBase(this.options.isBootProcessor));
  }

  /** INIT: as RESET, but IA32_APIC_BASE stays. */
  init(): void {
    this.initialise(this.registers.apicBase);
  }

  /** What firmware leaves behind: enabled, LINT0 as ExtINT on the boot processor, LINT1 as NMI. */
  setUpAsFirmware(): void {
    this.writeRegister(APIC.SVR, SVR.SOFTWARE_ENABLE | 0xff);
    const lint0 = this.options.isBootProcessor ? 0 : LVT.MASKED;
    this.writeRegister(APIC.LVT_LINT0, lint0 | (DELIVERY_MODE.EXTINT << LVT.DELIVERY_MODE_SHIFT));
    this.writeRegister(APIC.LVT_LINT1, DELIVERY_MODE.NMI << LVT.DELIVERY_MODE_SHIFT);
  }

  save(): LocalApicState {
    return {
      version: LOCAL_APIC_STATE_VERSION,
      apicId: this.apicId,
      registers: saveRegisters(this.registers, this.timers.clock.nowNs()),
      irr: [...this.irr],
      isr: [...this.isr],
      tmr: [...this.tmr],
      tscDeadline: this.timer.tscDeadline.toString(16),
    };
  }

  /** The guest's time-stamp counter must have been restored before: a TSC deadline counts on it. */
  restore(state: LocalApicState): void {
    this.registers = restoreRegisters(state, this.timers.clock.nowNs());
    this.irr.set(state.irr);
    this.isr.set(state.isr);
    this.tmr.set(state.tmr);
    this.timer.tscDeadline = BigInt(`0x${state.tscDeadline}`);
    this.timer.arm();
    this.update();
    this.options.sink.onPendingChanged();
  }

  // --- registers ---

  private get x2apicLogicalId(): number {
    return ((this.apicId >>> 4) << 16) | (1 << (this.apicId & 0xf));
  }

  private initialise(apicBase: number): void {
    const { lint0, lint1 } = this.registers;
    this.registers = { ...initialRegisters(apicBase), lint0, lint1 };
    this.irr.fill(0);
    this.isr.fill(0);
    this.tmr.fill(0);
    this.timer.tscDeadline = 0n;
    this.timer.arm();
    this.update();
  }

  /** undefined where no register is. Offsets are multiples of 16. */
  private readRegister(offset: number): number | undefined {
    const registers = this.registers;
    if (offset >= APIC.ISR && offset < APIC.ESR) {
      const words = offset < APIC.TMR ? this.isr : offset < APIC.IRR ? this.tmr : this.irr;
      return words[(offset >> 4) & 7]!;
    }
    if (offset >= APIC.LVT_TIMER && offset <= APIC.LVT_ERROR) return registers.lvt[(offset - APIC.LVT_TIMER) >> 4]!;
    switch (offset) {
      case APIC.VERSION:
        return APIC_VERSION;
      case APIC.TPR:
        return registers.tpr;
      case APIC.APR:
      case APIC.RRD:
      case APIC.EOI:
        return 0;
      case APIC.PPR:
        return this.ppr;
      case APIC.LDR:
        return registers.ldr;
      case APIC.DFR:
        return registers.dfr;
      case APIC.SVR:
        return registers.svr;
      case APIC.ESR:
        return registers.esr;
      case APIC.ICR_LOW:
        return registers.icrLow;
      case APIC.ICR_HIGH:
        return registers.icrHigh;
      case APIC.INITIAL_COUNT:
        return registers.initialCount;
      case APIC.CURRENT_COUNT:
        return this.timer.currentCount();
      case APIC.DIVIDE:
        return registers.divide;
      default:
        return undefined;
    }
  }

  /** false where no register is. Writes to read-only registers are dropped. */
  private writeRegister(offset: number, value: number): boolean {
    const registers = this.registers;
    if (offset >= APIC.LVT_TIMER && offset <= APIC.LVT_ERROR) {
      this.writeLvt((offset - APIC.LVT_TIMER) >> 4, value);
      return true;
    }
    switch (offset) {
      case APIC.TPR:
        registers.tpr = value & 0xff;
        this.update();
        return true;
      case APIC.EOI:
        this.endOfInterrupt();
        return true;
      case APIC.LDR:
        registers.ldr = (value & 0xff000000) >>> 0;
        return true;
      case APIC.DFR:
        registers.dfr = (value | 0x0fffffff) >>> 0;
        return true;
      case APIC.SVR:
        this.writeSvr(value);
        return true;
      case APIC.ESR:
        registers.esr = registers.pendingErrors;
        registers.pendingErrors = 0;
        return true;
      case APIC.ICR_LOW:
        this.writeIcr(value);
        return true;
      case APIC.ICR_HIGH:
        registers.icrHigh = (value & 0xff000000) >>> 0;
        return true;
      case APIC.INITIAL_COUNT:
        this.timer.setInitialCount(value >>> 0);
        return true;
      case APIC.DIVIDE:
        this.timer.setDivide(value & DIVIDE_WRITABLE);
        return true;
      default:
        return offset !== APIC.SELF_IPI && (offset === APIC.ID || this.readRegister(offset) !== undefined);
    }
  }

  private isX2apicWritable(offset: number, value: number): boolean {
    if (offset >= APIC.LVT_TIMER && offset <= APIC.LVT_ERROR) {
      return (value & ~(LVT_WRITABLE[(offset - APIC.LVT_TIMER) >> 4]! | LVT_READ_ONLY)) === 0;
    }
    switch (offset) {
      case APIC.TPR:
      case APIC.SELF_IPI:
        return value <= 0xff;
      case APIC.EOI:
      case APIC.ESR:
        return value === 0;
      case APIC.SVR:
        return (value & ~SVR.WRITABLE) === 0;
      case APIC.INITIAL_COUNT:
        return true;
      case APIC.DIVIDE:
        return (value & ~DIVIDE_WRITABLE) === 0;
      default:
        return false;
    }
  }

  private writeApicBase(value: bigint): boolean {
    const reserved = 0x2ffn | (~0n << BigInt(this.options.physicalAddressBits));
    if ((value & reserved) !== 0n) return false;
    const next = Number(value);
    const was = this.registers.apicBase & (APIC_BASE.EN | APIC_BASE.EXTD);
    const is = next & (APIC_BASE.EN | APIC_BASE.EXTD);
    if (is === APIC_BASE.EXTD) return false;
    if (is !== was) {
      // Legal: off to xAPIC, xAPIC to x2APIC, either to off (SDM 3A figure 11-27).
      if (was === 0 && is === (APIC_BASE.EN | APIC_BASE.EXTD)) return false;
      if (was === (APIC_BASE.EN | APIC_BASE.EXTD) && is === APIC_BASE.EN) return false;
      if (is === 0) this.initialise(next);
    }
    this.registers.apicBase = next;
    this.update();
    return true;
  }

  private writeSvr(value: number): void {
    const registers = this.registers;
    registers.svr = value & SVR.WRITABLE;
    if ((registers.svr & SVR.SOFTWARE_ENABLE) === 0) {
      for (let i = 0; i < registers.lvt.length; i++) registers.lvt[i]! |= LVT.MASKED;
    }
    this.update();
  }

  private writeLvt(index: number, value: number): void {
    let entry = value & LVT_WRITABLE[index]!;
    if ((this.registers.svr & SVR.SOFTWARE_ENABLE) === 0) entry |= LVT.MASKED;
    if (index === LVT_INDEX.TIMER) this.timer.setMode(entry);
    else this.registers.lvt[index] = entry;
    this.update();
  }

  private writeIcr(low: number): void {
    const registers = this.registers;
    registers.icrLow = low & ICR.WRITABLE;
    const vector = low & 0xff;
    const deliveryMode = (low >> 8) & 7;
    const shorthand = (low >> ICR.SHORTHAND_SHIFT) & 3;
    // INIT level de-assert synchronised arbitration long ago and does nothing now.
    if (deliveryMode === DELIVERY_MODE.INIT && (low & ICR.LEVEL_ASSERT) === 0) return;
    const hasVector = deliveryMode === DELIVERY_MODE.FIXED || deliveryMode === DELIVERY_MODE.LOWEST_PRIORITY;
    if (hasVector && vector < FIRST_LEGAL_VECTOR) {
      this.recordError(ESR.SEND_ILLEGAL_VECTOR);
      return;
    }
    if (deliveryMode === DELIVERY_MODE.EXTINT || deliveryMode === 3) return;
    switch (shorthand) {
      case SHORTHAND.SELF:
        this.accept(deliveryMode, vector, false);
        return;
      case SHORTHAND.ALL:
        this.bus.sendToAll(deliveryMode, vector, undefined);
        return;
      case SHORTHAND.OTHERS:
        this.bus.sendToAll(deliveryMode, vector, this);
        return;
      default:
        this.bus.send({
          destination: this.x2apicMode ? registers.icrHigh : registers.icrHigh >>> 24,
          wide: this.x2apicMode,
          logical: (low & ICR.LOGICAL) !== 0,
          deliveryMode,
          vector,
          levelTriggered: false,
        });
    }
  }

  private endOfInterrupt(): void {
    const vector = highestBit(this.isr);
    if (vector < 0) return;
    clearBit(this.isr, vector);
    const levelTriggered = hasBit(this.tmr, vector);
    this.update();
    if (levelTriggered) this.bus.broadcastEndOfInterrupt(vector);
  }

  /** An interrupt of the local vector table: timer, LINT pins, error. */
  private raiseLocal(index: number): void {
    const entry = this.registers.lvt[index]!;
    if ((entry & LVT.MASKED) !== 0 || !this.globallyEnabled) return;
    const hasDeliveryMode = index === LVT_INDEX.LINT0 || index === LVT_INDEX.LINT1;
    const deliveryMode = hasDeliveryMode ? (entry >> LVT.DELIVERY_MODE_SHIFT) & 7 : DELIVERY_MODE.FIXED;
    if (deliveryMode === DELIVERY_MODE.EXTINT) return; // a level, which `update` looks at
    this.accept(deliveryMode, entry & LVT.VECTOR_MASK, false);
  }

  private recordError(bit: number): void {
    const first = (this.registers.pendingErrors & bit) === 0;
    this.registers.pendingErrors |= bit;
    // An error vector that is illegal itself is recorded once and raises no more.
    if (first) this.raiseLocal(LVT_INDEX.ERROR);
  }

  /** Works out PPR and what may be delivered, and tells the processor where that changed. */
  private update(): void {
    const { tpr, lint0, lvt } = this.registers;
    const inService = highestBit(this.isr);
    const servicePriority = inService < 0 ? 0 : inService & 0xf0;
    this.ppr = (tpr & 0xf0) >= servicePriority ? tpr : servicePriority;
    const requested = highestBit(this.irr);
    const deliverable = requested >= 0 && (requested & 0xf0) > (this.ppr & 0xf0) ? requested : -1;
    const external = lint0 && this.options.external !== undefined && this.passesExternal(lvt[LVT_INDEX.LINT0]!);
    if (deliverable === this.deliverable && external === this.externalDeliverable) return;
    this.deliverable = deliverable;
    this.externalDeliverable = external;
    this.options.sink.onPendingChanged();
  }

  /** LINT0 is the processor's INTR pin while the local APIC is off, and where its entry says ExtINT. */
  private passesExternal(lint0: number): boolean {
    if (!this.globallyEnabled) return true;
    return (lint0 & LVT.MASKED) === 0 && ((lint0 >> LVT.DELIVERY_MODE_SHIFT) & 7) === DELIVERY_MODE.EXTINT;
  }
}
