import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATE } from '../../ir/guest-state.ts';
import { checkSegment, inspectSelector, lldt, loadSegment, ltr } from './segment-load.ts';
import { SEGMENT } from './transfer-context.ts';
import {
  assertFault,
  descriptor,
  LDT,
  longMachine,
  protectedMachine,
  realMachine,
  SELECTOR,
  TSS2,
  vm86Machine,
} from './transfers.test-data.ts';

const [UD, NP, SS, GP] = [6, 11, 12, 13];

test('a real-mode load sets the base and keeps limit and attributes', () => {
  const machine = realMachine();
  machine.cpu.setSegment(SEGMENT.DS, { selector: 8, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
  loadSegment(machine, SEGMENT.DS, 0x1234);
  assert.deepEqual(machine.cpu.segment(SEGMENT.DS), {
    selector: 0x1234,
    base: 0x12340n,
    limit: 0xffff_ffff,
    attributes: 0xc093,
  });
  assert.equal(machine.modeRefreshes, 1);
});

test('a virtual-8086 load needs no descriptor', () => {
  const machine = vm86Machine(0);
  loadSegment(machine, SEGMENT.ES, 0xffff);
  assert.equal(machine.cpu.segment(SEGMENT.ES).base, 0xffff0n);
});

test('a protected-mode load fills the hidden part and sets the accessed bit in the table', () => {
  const machine = protectedMachine(3);
  loadSegment(machine, SEGMENT.DS, SELECTOR.readOnly | 3);
  assert.deepEqual(machine.cpu.segment(SEGMENT.DS), {
    selector: SELECTOR.readOnly | 3,
    base: 0x1000n,
    limit: 0xff,
    attributes: 0x40f1,
  });
  assert.equal(machine.accessByte(SELECTOR.readOnly), 0xf1);
});

test('a page-granular limit counts in 4 KiB', () => {
  const machine = protectedMachine();
  loadSegment(machine, SEGMENT.GS, SELECTOR.data);
  assert.equal(machine.cpu.segment(SEGMENT.GS).limit, 0xffff_ffff);
});

const refused: [string, number, number, number, number, number][] = [
  ['null in SS', 0, SEGMENT.SS, 0, GP, 0],
  ['SS beyond the table', 0, SEGMENT.SS, 0x100, GP, 0x100],
  ['SS with another RPL', 0, SEGMENT.SS, SELECTOR.data | 3, GP, SELECTOR.data],
  ['SS with another DPL', 3, SEGMENT.SS, SELECTOR.data | 3, GP, SELECTOR.data],
  ['SS read-only', 3, SEGMENT.SS, SELECTOR.readOnly | 3, GP, SELECTOR.readOnly],
  ['SS not present', 0, SEGMENT.SS, SELECTOR.absent, SS, SELECTOR.absent],
  ['DS not present', 0, SEGMENT.DS, SELECTOR.absent, NP, SELECTOR.absent],
  ['DS execute-only', 0, SEGMENT.DS, SELECTOR.executeOnly, GP, SELECTOR.executeOnly],
  ['DS of an inner level', 3, SEGMENT.DS, SELECTOR.data | 3, GP, SELECTOR.data],
  ['DS with an RPL above DPL', 0, SEGMENT.DS, SELECTOR.data | 3, GP, SELECTOR.data],
  ['DS a system segment', 0, SEGMENT.DS, SELECTOR.tss, GP, SELECTOR.tss],
  ['DS in an LDT that is not there', 0, SEGMENT.DS, 0x0c, GP, 0x0c],
];
for (const [name, cpl, index, selector, vector, errorCode] of refused) {
  test(`loading is refused: ${name}`, () => {
    const machine = protectedMachine(cpl);
    assertFault(machine, vector, errorCode, () => loadSegment(machine, index, selector));
  });
}

test('MOV to CS is no instruction', () => {
  const machine = protectedMachine();
  assertFault(machine, UD, undefined, () => loadSegment(machine, SEGMENT.CS, SELECTOR.code32));
});

test('a conforming code segment may be loaded as data from any level', () => {
  const machine = protectedMachine(3);
  loadSegment(machine, SEGMENT.FS, SELECTOR.conforming | 3);
  assert.equal(machine.cpu.selector(SEGMENT.FS), SELECTOR.conforming | 3);
});

test('a null selector makes a data segment unusable and clears the base of FS', () => {
  const machine = longMachine(3);
  machine.cpu.set(STATE.fsBase, 0x7000_0000_1000n);
  loadSegment(machine, SEGMENT.FS, 3);
  assert.deepEqual(machine.cpu.segment(SEGMENT.FS), { selector: 3, base: 0n, limit: 0, attributes: 0x10000 });
});

test('64-bit code may load null into SS below CPL 3, with the RPL of the CPL', () => {
  const machine = longMachine(0);
  loadSegment(machine, SEGMENT.SS, 0);
  assert.equal(machine.cpu.selector(SEGMENT.SS), 0);
  assertFault(machine, GP, 0, () => loadSegment(machine, SEGMENT.SS, 1));
  const user = longMachine(3);
  assertFault(user, GP, 0, () => loadSegment(user, SEGMENT.SS, 3));
  const compatible = longMachine(0, true);
  assertFault(compatible, GP, 0, () => loadSegment(compatible, SEGMENT.SS, 0));
});

test('a fault on setting the accessed bit leaves the segment register alone', () => {
  const machine = protectedMachine(3);
  machine.memory.readOnlyPages.add(1);
  assertFault(machine, 14, 2, () => loadSegment(machine, SEGMENT.DS, SELECTOR.readOnly | 3));
});

test('LLDT loads a 16-byte descriptor in IA-32e mode, through which selectors then resolve', () => {
  const machine = longMachine(0);
  machine.setGdt(SELECTOR.ldt, descriptor(LDT, 0xf, 0x82, 0), 0xffff_8000n);
  lldt(machine, SELECTOR.ldt);
  assert.deepEqual(machine.cpu.segment(SEGMENT.LDTR), {
    selector: SELECTOR.ldt,
    base: 0xffff_8000_0000_0000n + BigInt(LDT),
    limit: 0xf,
    attributes: 0x82,
  });
  machine.memory.write(BigInt(LDT + 8), 8, descriptor(0x7000, 0xff, 0xf3, 4), false);
  loadSegment(machine, SEGMENT.GS, 0x0f);
  assert.equal(machine.cpu.get(STATE.gsBase), 0x7000n);
  assertFault(machine, GP, 0x14, () => loadSegment(machine, SEGMENT.GS, 0x17));
});

test('LLDT wants privilege, protected mode, the GDT and the right type', () => {
  const machine = protectedMachine(0);
  assertFault(machine, GP, SELECTOR.data, () => lldt(machine, SELECTOR.data));
  assertFault(machine, GP, 0x0c, () => lldt(machine, 0x0c));
  machine.setGdt(SELECTOR.ldt, descriptor(LDT, 0xf, 0x02, 0));
  assertFault(machine, NP, SELECTOR.ldt, () => lldt(machine, SELECTOR.ldt));
  lldt(machine, 0);
  assert.equal(machine.cpu.attributes(SEGMENT.LDTR), 0x10000);
  const user = protectedMachine(3);
  assertFault(user, GP, 0, () => lldt(user, 0));
  const real = realMachine();
  assertFault(real, UD, undefined, () => lldt(real, 0));
});

test('LTR makes the TSS busy, and refuses a busy one', () => {
  const machine = protectedMachine(0);
  machine.setGdt(SELECTOR.tss2, descriptor(TSS2, 0x67, 0x89, 0));
  ltr(machine, SELECTOR.tss2);
  assert.equal(machine.accessByte(SELECTOR.tss2), 0x8b);
  assert.deepEqual(machine.cpu.segment(SEGMENT.TR), {
    selector: SELECTOR.tss2,
    base: BigInt(TSS2),
    limit: 0x67,
    attributes: 0x8b,
  });
  assertFault(machine, GP, SELECTOR.tss2, () => ltr(machine, SELECTOR.tss2));
  assertFault(machine, GP, 0, () => ltr(machine, 0));
});

const inspections: [string, number, number, number, bigint][] = [
  ['LAR of a data segment', 0, 0, SELECTOR.data, 0xc09300n],
  ['LAR of a busy TSS', 0, 0, SELECTOR.tss, 0x8b00n],
  ['LAR of null', 0, 0, 0, -1n],
  ['LAR of an inner level', 3, 0, SELECTOR.data, -1n],
  ['LAR of a conforming segment from outside', 3, 0, SELECTOR.conforming | 3, 0xc09f00n],
  ['LSL in bytes', 3, 1, SELECTOR.userData | 3, 0xffff_ffffn],
  ['LSL of a small segment', 0, 1, SELECTOR.readOnly, 0xffn],
  ['VERR of execute-only code', 0, 2, SELECTOR.executeOnly, -1n],
  ['VERR of read-only data', 0, 2, SELECTOR.readOnly, 0n],
  ['VERW of read-only data', 0, 3, SELECTOR.readOnly, -1n],
  ['VERW of writable data', 3, 3, SELECTOR.userData | 3, 0n],
  ['VERR of a system segment', 0, 2, SELECTOR.tss, -1n],
];
for (const [name, cpl, kind, selector, answer] of inspections) {
  test(`${name} gives ${answer}`, () => {
    assert.equal(inspectSelector(protectedMachine(cpl), kind, selector), answer);
  });
}

test('LSL of a gate is refused', () => {
  const machine = protectedMachine();
  machine.setGdt(SELECTOR.gate, descriptor(0, 0, 0x8c, 0));
  assert.equal(inspectSelector(machine, 1, SELECTOR.gate), -1n);
  assert.equal(inspectSelector(machine, 0, SELECTOR.gate), 0x8c00n);
});

test('LAR is undefined in real mode', () => {
  const machine = realMachine();
  assertFault(machine, UD, undefined, () => inspectSelector(machine, 0, 8));
});

test('an access must lie within the limit', () => {
  const machine = protectedMachine(3);
  loadSegment(machine, SEGMENT.DS, SELECTOR.readOnly | 3);
  checkSegment(machine, SEGMENT.DS, 0xfcn, 4, false);
  assertFault(machine, GP, 0, () => checkSegment(machine, SEGMENT.DS, 0xfdn, 4, false));
  assertFault(machine, GP, 0, () => checkSegment(machine, SEGMENT.DS, 0n, 1, true));
});

test('an expand-down segment holds what is above its limit', () => {
  const machine = protectedMachine(3);
  loadSegment(machine, SEGMENT.DS, SELECTOR.expandDown | 3);
  checkSegment(machine, SEGMENT.DS, 0x1000n, 4, true);
  checkSegment(machine, SEGMENT.DS, 0xffff_fffcn, 4, true);
  assertFault(machine, GP, 0, () => checkSegment(machine, SEGMENT.DS, 0xfffn, 4, true));
  assertFault(machine, GP, 0, () => checkSegment(machine, SEGMENT.DS, 0xffff_fffdn, 4, true));
});

test('code is not written, null not used, and the stack raises #SS', () => {
  const machine = protectedMachine(3);
  assertFault(machine, GP, 0, () => checkSegment(machine, SEGMENT.CS, 0n, 1, true));
  checkSegment(machine, SEGMENT.CS, 0n, 1, false);
  loadSegment(machine, SEGMENT.ES, 0);
  assertFault(machine, GP, 0, () => checkSegment(machine, SEGMENT.ES, 0n, 1, false));
  machine.cpu.setSegment(SEGMENT.SS, { selector: 0x23, base: 0n, limit: 0xffff, attributes: 0x40f3 });
  assertFault(machine, SS, 0, () => checkSegment(machine, SEGMENT.SS, 0xffffn, 2, true));
});

test('real mode checks limits alone: code may be written', () => {
  const machine = realMachine();
  checkSegment(machine, SEGMENT.CS, 0n, 2, true);
  assertFault(machine, GP, 0, () => checkSegment(machine, SEGMENT.DS, 0xffffn, 2, false));
});
