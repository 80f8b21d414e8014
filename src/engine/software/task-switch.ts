// The hardware task switch of legacy protected mode, by 32- and 16-bit TSS (SDM volume 3, chapter 9). The new task's
// segments are checked before anything is changed, so that an exception for them belongs to the old task.

import { STATE } from '../../ir/guest-state.ts';
import { CR0, DR6 } from '../../isa/control-registers.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import {
  baseOf,
  type Descriptor,
  descriptorAddress,
  dplOf,
  highOf,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isWritableData,
  limitOf,
  linearOf,
  lowOf,
  markAccessed,
  readDescriptor,
  SYSTEM_TYPE,
  segmentBase,
  segmentLimit,
  selectorError,
  storeDescriptor,
  storeNull,
  storeVm86,
  typeOf,
  writeSegment,
} from './descriptor.ts';
import {
  generalProtection,
  invalidTss,
  LOW_32,
  notPresent,
  SEGMENT,
  setCpl,
  setRip,
  stackFault,
  type TransferContext,
} from './transfer-context.ts';

export type TaskSwitchSource = 'jump' | 'call' | 'interrupt' | 'iret';

interface TssLayout {
  readonly minimumLimit: number;
  /** Bytes of a register slot. */
  readonly slotBytes: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly segments: number;
  readonly segmentCount: number;
  readonly ldt: number;
  readonly cr3: number | undefined;
}

const TSS32: TssLayout = {
  minimumLimit: 0x67,
  slotBytes: 4,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
  cr3: 0x1c,
};
const TSS16: TssLayout = {
  minimumLimit: 0x2b,
  slotBytes: 2,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
  cr3: undefined,
};
const BUSY = 0x200;
/** L0 to L3 and LE of DR7: breakpoints of the old task. */
const DR7_LOCAL = 0x155n;

const layoutOf = (type: number): TssLayout => ((type & 8) !== 0 ? TSS32 : TSS16);

/** The TSS descriptor that a task gate or a far transfer names: #GP or #NP with its selector (plus `external`). */
export function readTaskDescriptor(context: TransferContext, selector: number, external: number): Descriptor {
  const error = selectorError(selector) | external;
  const descriptor = (selector & 4) !== 0 ? undefined : readDescriptor(context, selector);
  if (descriptor === undefined) throw generalProtection(error);
  const type = typeOf(descriptor.high);
  if (type !== SYSTEM_TYPE.TSS_AVAILABLE && type !== SYSTEM_TYPE.TSS16_AVAILABLE) throw generalProtection(error);
  if (!isPresent(descriptor.high)) throw notPresent(error);
  return descriptor;
}

/** IRET with NT: back to the task that the current TSS links to. */
export function returnToTask(context: TransferContext): void {
  const { cpu, memory } = context;
  const selector = Number(memory.read(linearOf(cpu, segmentBase(cpu, SEGMENT.TR), 0n), 2, false));
  const error = selectorError(selector);
  const descriptor = (selector & 4) !== 0 ? undefined : readDescriptor(context, selector);
  if (descriptor === undefined) throw invalidTss(error);
  const type = typeOf(descriptor.high);
  if (type !== SYSTEM_TYPE.TSS_BUSY && type !== SYSTEM_TYPE.TSS16_BUSY) throw invalidTss(error);
  if (!isPresent(descriptor.high)) throw notPresent(error);
  switchTask(context, descriptor, 'iret', context.nextRip(), 0);
}

interface NewTask {
  readonly rip: bigint;
  readonly eflags: number;
  readonly registers: readonly bigint[];
  /** ES, CS, SS, DS, FS, GS. */
  readonly selectors: readonly number[];
  readonly ldtSelector: number;
  readonly cr3: bigint | undefined;
  readonly trap: boolean;
}

function readNewTask(context: TransferContext, base: bigint, layout: TssLayout): NewTask {
  const { cpu, memory } = context;
  const read = (offset: number, sizeBytes: number): bigint =>
    memory.read(linearOf(cpu, base, BigInt(offset)), sizeBytes, false);
  const { slotBytes } = layout;
  return {
    rip: read(layout.ip, slotBytes),
    eflags: Number(read(layout.flags, slotBytes)) | EFLAGS.FIXED,
    registers: Array.from({ length: 8 }, (_, i) => read(layout.registers + i * slotBytes, slotBytes)),
    selectors: Array.from({ length: 6 }, (_, i) =>
      i < layout.segmentCount ? Number(read(layout.segments + i * slotBytes, 2)) : 0,
    ),
    ldtSelector: Number(read(layout.ldt, 2)),
    cr3: layout.cr3 === undefined ? undefined : read(layout.cr3, 4),
    trap: layout === TSS32 && (read(0x64, 2) & 1n) !== 0n,
  };
}

/** The new LDT's descriptor; undefined for a null selector. */
function readTaskLdt(context: TransferContext, selector: number, external: number): Descriptor | undefined {
  if (isNull(selector)) return undefined;
  const error = selectorError(selector) | external;
  const descriptor = (selector & 4) !== 0 ? undefined : readDescriptor(context, selector);
  if (descriptor === undefined || typeOf(descriptor.high) !== SYSTEM_TYPE.LDT || !isPresent(descriptor.high)) {
    throw invalidTss(error);
  }
  return descriptor;
}

/** The descriptor of a selector of the new task, whose LDT is not yet loaded. */
function readTaskSegment(
  context: TransferContext,
  selector: number,
  ldt: Descriptor | undefined,
): Descriptor | undefined {
  if ((selector & 4) === 0) return readDescriptor(context, selector);
  const offset = selector & 0xfff8;
  if (ldt === undefined || offset + 7 > limitOf(ldt.low, ldt.high)) return undefined;
  const address = linearOf(context.cpu, BigInt(baseOf(ldt.low, ldt.high)), BigInt(offset));
  const value = context.memory.read(address, 8, false);
  return { selector, address, low: lowOf(value), high: highOf(value) };
}

function checkTaskSegment(index: number, selector: number, high: number, cpl: number, external: number): void {
  const error = selectorError(selector) | external;
  const dpl = dplOf(high);
  if (index === SEGMENT.CS) {
    if (!isCode(high) || (isConforming(high) ? dpl > cpl : dpl !== cpl)) throw invalidTss(error);
    if (!isPresent(high)) throw notPresent(error);
  } else if (index === SEGMENT.SS) {
    if (!isWritableData(high) || dpl !== cpl || (selector & 3) !== cpl) throw invalidTss(error);
    if (!isPresent(high)) throw stackFault(error);
  } else {
    const reachable = isConforming(high) || Math.max(cpl, selector & 3) <= dpl;
    if (!isReadable(high) || !reachable) throw invalidTss(error);
    if (!isPresent(high)) throw notPresent(error);
  }
}

function readTaskSegments(
  context: TransferContext,
  task: NewTask,
  ldt: Descriptor | undefined,
  cpl: number,
  external: number,
): (Descriptor | undefined)[] {
  return task.selectors.map((selector, index) => {
    if (isNull(selector)) {
      if (index === SEGMENT.CS || index === SEGMENT.SS) throw invalidTss(external);
      return undefined;
    }
    const descriptor = readTaskSegment(context, selector, ldt);
    if (descriptor === undefined) throw invalidTss(selectorError(selector) | external);
    checkTaskSegment(index, selector, descriptor.high, cpl, external);
    markAccessed(context, descriptor.address, descriptor.high);
    return descriptor;
  });
}

function saveOldTask(context: TransferContext, layout: TssLayout, rip: bigint, eflags: number): void {
  const { cpu, memory } = context;
  const base = segmentBase(cpu, SEGMENT.TR);
  const { slotBytes } = layout;
  const mask = slotBytes === 4 ? LOW_32 : 0xffffn;
  const write = (offset: number, sizeBytes: number, value: bigint): void =>
    memory.write(linearOf(cpu, base, BigInt(offset)), sizeBytes, value & mask, false);
  write(layout.ip, slotBytes, rip);
  write(layout.flags, slotBytes, BigInt(eflags));
  for (let i = 0; i < 8; i++) write(layout.registers + i * slotBytes, slotBytes, cpu.gpr(i));
  for (let i = 0; i < layout.segmentCount; i++) {
    write(layout.segments + i * slotBytes, 2, BigInt(cpu.selector(i)));
  }
}

function setBusy(context: TransferContext, descriptor: Descriptor, busy: boolean): void {
  const high = busy ? descriptor.high | BUSY : descriptor.high & ~BUSY;
  context.memory.write(descriptor.address + 5n, 1, BigInt((high >>> 8) & 0xff), false);
}

/** Leaves the current task at `rip` for the one of `descriptor`, which its caller has found fit for `source`. */
export function switchTask(
  context: TransferContext,
  descriptor: Descriptor,
  source: TaskSwitchSource,
  rip: bigint,
  external: number,
): void {
  const { cpu, memory } = context;
  const oldSelector = cpu.selector(SEGMENT.TR);
  const newBase = BigInt(baseOf(descriptor.low, descriptor.high));
  const newLayout = layoutOf(typeOf(descriptor.high));
  const oldLayout = layoutOf(cpu.attributes(SEGMENT.TR));
  if (limitOf(descriptor.low, descriptor.high) < newLayout.minimumLimit) {
    throw invalidTss(selectorError(descriptor.selector) | external);
  }
  if (segmentLimit(cpu, SEGMENT.TR) < oldLayout.minimumLimit) {
    throw invalidTss(selectorError(oldSelector) | external);
  }
  memory.probeWrite(linearOf(cpu, segmentBase(cpu, SEGMENT.TR), 0n), oldLayout.minimumLimit + 1, false);
  memory.probeWrite(newBase, newLayout.minimumLimit + 1, false);
  memory.probeWrite(descriptor.address, 8, false);
  const task = readNewTask(context, newBase, newLayout);
  const vm86 = (task.eflags & EFLAGS.VM) !== 0;
  const cpl = vm86 ? 3 : task.selectors[SEGMENT.CS]! & 3;
  const ldt = readTaskLdt(context, task.ldtSelector, external);
  const segments = vm86 ? [] : readTaskSegments(context, task, ldt, cpl, external);
  const code = segments[SEGMENT.CS];
  const codeLimit = code === undefined ? 0xffff : limitOf(code.low, code.high);
  if (task.rip > BigInt(codeLimit)) throw generalProtection(external);

  const nested = source === 'call' || source === 'interrupt';
  const oldEflags = source === 'iret' ? cpu.eflags & ~EFLAGS.NT : cpu.eflags;
  saveOldTask(context, oldLayout, rip, oldEflags);
  if (!nested) {
    const address = descriptorAddress(cpu, oldSelector);
    if (address >= 0n) {
      const old = memory.read(address, 8, false);
      setBusy(context, { selector: oldSelector, address, low: lowOf(old), high: highOf(old) }, false);
    }
  }
  if (nested) memory.write(newBase, 2, BigInt(oldSelector), false);
  if (source !== 'iret') setBusy(context, descriptor, true);

  const high = descriptor.high | BUSY;
  writeSegment(
    cpu,
    SEGMENT.TR,
    descriptor.selector,
    baseOf(descriptor.low, high),
    limitOf(descriptor.low, high),
    (high >>> 8) & 0xf0ff,
  );
  cpu.set(STATE.cr0, cpu.get(STATE.cr0) | BigInt(CR0.TS));
  // The switch itself is the processor's work, not the old task's.
  setCpl(cpu, 0);
  if (task.cr3 !== undefined && (cpu.getLow(STATE.cr0) & CR0.PG) !== 0) context.loadCr3(task.cr3);
  cpu.set(STATE.dr7, cpu.get(STATE.dr7) & ~DR7_LOCAL);
  loadTask(context, task, ldt, segments, cpl, nested);
  context.refreshMode();
  if (task.trap) {
    cpu.set(STATE.dr6, cpu.get(STATE.dr6) | BigInt(DR6.BT));
    context.taskTrap?.();
  }
}

function loadTask(
  context: TransferContext,
  task: NewTask,
  ldt: Descriptor | undefined,
  segments: readonly (Descriptor | undefined)[],
  cpl: number,
  nested: boolean,
): void {
  const { cpu } = context;
  if (ldt === undefined) storeNull(cpu, SEGMENT.LDTR, task.ldtSelector);
  else {
    const attributes = (ldt.high >>> 8) & 0xf0ff & ~SEGMENT_ATTRIBUTE.UNUSABLE;
    writeSegment(cpu, SEGMENT.LDTR, ldt.selector, baseOf(ldt.low, ldt.high), limitOf(ldt.low, ldt.high), attributes);
  }
  task.registers.forEach((value, i) => {
    cpu.setGpr(i, value);
  });
  const vm86 = (task.eflags & EFLAGS.VM) !== 0;
  task.selectors.forEach((selector, index) => {
    const segment = segments[index];
    if (vm86) storeVm86(cpu, index, selector);
    else if (segment === undefined) storeNull(cpu, index, selector);
    else storeDescriptor(cpu, index, selector, segment.low, segment.high);
  });
  cpu.eflags = nested ? task.eflags | EFLAGS.NT : task.eflags;
  setRip(cpu, task.rip);
  setCpl(cpu, cpl);
}
