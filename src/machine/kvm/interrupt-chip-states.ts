// The interrupt controllers' states to and from KVM's structures: local APIC, I/O APIC, 8259A pair. What KVM has no
// place for is said at each.

import type { IoApicState } from '../../devices/chips/io-apic/state.ts';
import { IO_APIC_STATE_VERSION } from '../../devices/chips/io-apic/state.ts';
import { IO_APIC_BASE, REDIRECTION } from '../../devices/chips/io-apic/wire.ts';
import { LOCAL_APIC_STATE_VERSION, type LocalApicState } from '../../devices/chips/local-apic/state.ts';
import { APIC, APIC_TIMER_HZ, LVT, TIMER_MODE } from '../../devices/chips/local-apic/wire.ts';
import { type ChipState, initialChipState, PIC_STATE_VERSION, type PicState } from '../../devices/chips/pic/state.ts';
import { ELCR_WRITABLE } from '../../devices/chips/pic/wire.ts';
import { StructBuffer } from '../../engine/kvm/struct-layout.ts';
import * as structs from '../../engine/kvm/structs.ts';

// Local APIC (SDM 3A, table 11-1: the page as it is).

const LVT_OFFSETS = [
  APIC.LVT_TIMER,
  APIC.LVT_THERMAL,
  APIC.LVT_PERFORMANCE,
  APIC.LVT_LINT0,
  APIC.LVT_LINT1,
  APIC.LVT_ERROR,
] as const;
const BITMAP_WORDS = 8;

class ApicPage {
  readonly buffer: StructBuffer;
  private readonly view: DataView;

  constructor(buffer: StructBuffer) {
    this.buffer = buffer;
    this.view = new DataView(buffer.bytes.buffer, buffer.bytes.byteOffset, buffer.bytes.byteLength);
  }

  get(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  set(offset: number, value: number): void {
    this.view.setUint32(offset, value, true);
  }

  words(offset: number): number[] {
    return Array.from({ length: BITMAP_WORDS }, (_, index) => this.get(offset + index * 16));
  }

  setWords(offset: number, words: readonly number[]): void {
    for (const [index, word] of words.entries()) this.set(offset + index * 16, word);
  }
}

/** What else of a local APIC is not in its page. */
export interface LocalApicSurroundings {
  /** IA32_APIC_BASE. */
  readonly apicBase: number;
  readonly tscDeadline: bigint;
  readonly nmiPending: boolean;
  /** INTR of the 8259A pair. */
  readonly lint0: boolean;
}

/** Nanoseconds of one count at a divide configuration register. */
function countNs(divide: number): number {
  const code = ((divide & 8) >> 1) | (divide & 3);
  return (1e9 / APIC_TIMER_HZ) * (1 << ((code + 1) & 7));
}

/**
 * Writes into a page as KVM gave it: the version stays KVM's. Errors that wait for a write to ESR have no place there,
 * nor has a one-shot count that has come to its end: KVM takes it for one that ends now, and interrupts again. It goes
 * in as no count.
 */
export function writeLocalApic(page: StructBuffer, state: LocalApicState): void {
  const apic = new ApicPage(page);
  const { registers } = state;
  apic.set(APIC.ID, state.apicId << 24);
  apic.set(APIC.TPR, registers.tpr);
  apic.set(APIC.LDR, registers.ldr);
  apic.set(APIC.DFR, registers.dfr);
  apic.set(APIC.SVR, registers.svr);
  apic.set(APIC.ESR, registers.esr);
  apic.set(APIC.ICR_LOW, registers.icrLow);
  apic.set(APIC.ICR_HIGH, registers.icrHigh);
  for (const [index, offset] of LVT_OFFSETS.entries()) apic.set(offset, registers.lvt[index]!);
  apic.setWords(APIC.ISR, state.isr);
  apic.setWords(APIC.TMR, state.tmr);
  apic.setWords(APIC.IRR, state.irr);
  apic.set(APIC.DIVIDE, registers.divide);
  const { initialCount } = registers;
  const counted = initialCount === 0 ? 0 : Math.floor(registers.startNs / countNs(registers.divide));
  const isPeriodic = ((registers.lvt[0]! >> LVT.TIMER_MODE_SHIFT) & 3) === TIMER_MODE.PERIODIC;
  const rest = isPeriodic ? initialCount - (counted % Math.max(1, initialCount)) : Math.max(0, initialCount - counted);
  apic.set(APIC.INITIAL_COUNT, rest === 0 ? 0 : initialCount);
  apic.set(APIC.CURRENT_COUNT, rest);
}

export function readLocalApic(page: StructBuffer, around: LocalApicSurroundings): LocalApicState {
  const apic = new ApicPage(page);
  const divide = apic.get(APIC.DIVIDE);
  const initialCount = apic.get(APIC.INITIAL_COUNT);
  return {
    version: LOCAL_APIC_STATE_VERSION,
    apicId: apic.get(APIC.ID) >>> 24,
    registers: {
      apicBase: around.apicBase,
      tpr: apic.get(APIC.TPR),
      ldr: apic.get(APIC.LDR),
      dfr: apic.get(APIC.DFR),
      svr: apic.get(APIC.SVR),
      esr: apic.get(APIC.ESR),
      pendingErrors: 0,
      icrLow: apic.get(APIC.ICR_LOW),
      icrHigh: apic.get(APIC.ICR_HIGH),
      lvt: LVT_OFFSETS.map((offset) => apic.get(offset)),
      initialCount,
      divide,
      nmiPending: around.nmiPending,
      lint0: around.lint0,
      lint1: false,
      startNs: (initialCount - apic.get(APIC.CURRENT_COUNT)) * countNs(divide),
    },
    irr: apic.words(APIC.IRR),
    isr: apic.words(APIC.ISR),
    tmr: apic.words(APIC.TMR),
    tscDeadline: around.tscDeadline.toString(16),
  };
}

// I/O APIC.

/**
 * Of the pins, those that are level-triggered go in as requests; KVM would take an edge that has been served for a new
 * one.
 */
export function ioApicBuffer(state: IoApicState): StructBuffer {
  const buffer = new StructBuffer(structs.kvm_ioapic_state);
  buffer.set64('base_address', BigInt(IO_APIC_BASE));
  buffer.set('ioregsel', state.ioregsel);
  buffer.set('id', state.id);
  let irr = 0;
  for (let pin = 0; pin < structs.KVM_IOAPIC_NUM_PINS; pin++) {
    const [low, high] = [state.low[pin]!, state.high[pin]!];
    buffer.set64('redirtbl', (BigInt(high) << 32n) | BigInt(low), pin);
    if ((low & REDIRECTION.LEVEL_TRIGGERED) !== 0) irr |= state.pins & (1 << pin);
  }
  buffer.set('irr', irr);
  return buffer;
}

export function readIoApic(buffer: StructBuffer): IoApicState {
  const entries = Array.from({ length: structs.KVM_IOAPIC_NUM_PINS }, (_, pin) => buffer.get64('redirtbl', pin));
  return {
    version: IO_APIC_STATE_VERSION,
    id: buffer.get('id'),
    ioregsel: buffer.get('ioregsel'),
    low: entries.map((entry) => Number(entry & 0xffff_ffffn)),
    high: entries.map((entry) => Number(entry >> 32n)),
    pins: buffer.get('irr'),
  };
}

// 8259A pair.

/** KVM's init_state counts the words: 1 is ICW2. */
const initStateOf = (expectedIcw: number): number => (expectedIcw === 0 ? 0 : expectedIcw - 1);
const expectedIcwOf = (initState: number): number => (initState === 0 ? 0 : initState + 1);
const bit = (value: boolean): number => (value ? 1 : 0);

export function picBuffer(chip: ChipState, isMaster: boolean): StructBuffer {
  const buffer = new StructBuffer(structs.kvm_pic_state);
  buffer.set('last_irr', chip.inputs);
  buffer.set('irr', (chip.edges & ~chip.elcr) | (chip.inputs & chip.elcr));
  buffer.set('imr', chip.imr);
  buffer.set('isr', chip.isr);
  buffer.set('priority_add', (chip.lowestPriority + 1) & 7);
  buffer.set('irq_base', chip.vectorBase);
  buffer.set('read_reg_select', bit(chip.readIsr));
  buffer.set('poll', bit(chip.poll));
  buffer.set('special_mask', bit(chip.specialMask));
  buffer.set('init_state', initStateOf(chip.expectedIcw));
  buffer.set('auto_eoi', bit(chip.autoEoi));
  buffer.set('rotate_on_auto_eoi', bit(chip.rotateInAutoEoi));
  buffer.set('special_fully_nested_mode', bit(chip.specialFullyNested));
  buffer.set('init4', bit(chip.needsIcw4));
  buffer.set('elcr', chip.elcr);
  buffer.set('elcr_mask', isMaster ? ELCR_WRITABLE.MASTER : ELCR_WRITABLE.SLAVE);
  return buffer;
}

/** KVM keeps an edge that was latched when its input falls; it has no chip without a cascade (ICW1.SNGL). */
export function readPic(buffer: StructBuffer): ChipState {
  const elcr = buffer.get('elcr');
  const flag = (member: string): boolean => buffer.get(member) !== 0;
  return {
    ...initialChipState(),
    inputs: buffer.get('last_irr'),
    edges: buffer.get('irr') & ~elcr,
    imr: buffer.get('imr'),
    isr: buffer.get('isr'),
    elcr,
    vectorBase: buffer.get('irq_base'),
    lowestPriority: (buffer.get('priority_add') + 7) & 7,
    expectedIcw: expectedIcwOf(buffer.get('init_state')),
    needsIcw4: flag('init4'),
    autoEoi: flag('auto_eoi'),
    rotateInAutoEoi: flag('rotate_on_auto_eoi'),
    specialMask: flag('special_mask'),
    specialFullyNested: flag('special_fully_nested_mode'),
    readIsr: flag('read_reg_select'),
    poll: flag('poll'),
  };
}

export function picPair(master: ChipState, slave: ChipState): PicState {
  return { version: PIC_STATE_VERSION, chips: [master, slave] };
}
