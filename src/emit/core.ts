// The core functions that generated code calls when its inline path does not apply: slow memory accesses, addresses
// of every mode, and jumps. They are written once, in WebAssembly, so that the usual slow case stays out of JavaScript.

import { NO_PAGE, SCRATCH_OFFSET, SEGMENT_FIELDS, STATE, type StateField } from '../ir/guest-state.ts';
import { FunctionWriter, type MemoryName, type ModuleWriter } from '../wasm/encoder.ts';
import { type CoreName, FIRST_REGION, FLAG_CARRY, FLAG_KIND, type Imports } from './imports.ts';
import { pushEnterPage, pushEntry, pushIsOld, pushIsOther } from './jump-cache.ts';
import {
  BRANCH_COUNT,
  CODE_TLB,
  HEAT,
  JUMP_CACHE,
  RECORD,
  REGION_RECORD,
  REGION_VERIFIED,
  TLB,
  VICTIM_SHIFTS,
} from './record.ts';

/** Nested calls at most: their frames lie on the thread's stack. */
export const MAXIMUM_CALL_DEPTH = 48;

const CPU = 0;
const REC = 1;

const LOADS: Record<number, MemoryName> = {
  1: 'i64.load8_u',
  2: 'i64.load16_u',
  4: 'i64.load32_u',
  8: 'i64.load',
  16: 'v128.load',
};
const STORES: Record<number, MemoryName> = {
  1: 'i64.store8',
  2: 'i64.store16',
  4: 'i64.store32',
  8: 'i64.store',
  16: 'v128.store',
};

const loadField = (f: FunctionWriter, name: StateField): void => {
  f.get(CPU);
  f.memory(STATE[name].type === 'u64' ? 'i64.load' : 'i32.load', STATE[name].offset);
};

/** Pushes (cpu, record, low, high, sizeBytes | write << 8) for a service call on the address in local 2. */
const pushAccess = (f: FunctionWriter, sizeBytes: number, write: boolean): void => {
  f.get(CPU);
  f.get(REC);
  f.get(2);
  f.pure('i32.wrap_i64');
  f.get(2);
  f.i64(32n);
  f.pure('i64.shr_u');
  f.pure('i32.wrap_i64');
  f.i32(sizeBytes | (write ? 0x100 : 0));
};

/** Pushes what `translate` gives for the address in local 2. */
const pushTranslated = (f: FunctionWriter, imports: Imports, sizeBytes: number, write: boolean): void => {
  f.get(CPU);
  f.get(REC);
  f.get(2);
  f.i32(sizeBytes | (write ? 0x100 : 0));
  f.call(imports.core.translate);
};

/** Pushes the host offset of the victim's place for the address that `push` pushes. */
function pushVictimOf(f: FunctionWriter, push: () => void): void {
  const [page, ...folded] = VICTIM_SHIFTS;
  push();
  f.i64(BigInt(page));
  f.pure('i64.shr_u');
  for (const shift of folded) {
    push();
    f.i64(BigInt(shift));
    f.pure('i64.shr_u');
    f.pure('i64.xor');
  }
  f.pure('i32.wrap_i64');
  f.i32((1 << TLB.entriesLog2) - 1);
  f.pure('i32.and');
  f.i32(TLB.strideLog2);
  f.pure('i32.shl');
  loadField(f, 'tlb');
  f.pure('i32.add');
  f.i32(TLB.victims);
  f.pure('i32.add');
}

/** Copies a TLB entry. */
function copyEntry(f: FunctionWriter, to: number, from: number): void {
  for (const field of [TLB.readTag, TLB.writeTag, TLB.addend]) {
    f.get(to);
    f.get(from);
    f.memory('i64.load', field);
    f.memory('i64.store', field);
  }
}

function translate(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(4);
  const [ADDRESS, ACCESS] = [2, 3];
  const victim = f.local('i32');
  const entry = f.local('i32');
  const place = f.local('i32');
  const old = f.local('i64');
  pushVictimOf(f, () => f.get(ADDRESS));
  f.tee(victim);
  // Where writing is asked for, the tag for writing.
  f.get(ACCESS);
  f.i32(8 - Math.log2(TLB.writeTag));
  f.pure('i32.shr_u');
  f.i32(TLB.writeTag);
  f.pure('i32.and');
  f.pure('i32.add');
  f.memory('i64.load', TLB.readTag);
  f.get(ADDRESS);
  f.get(ACCESS);
  f.i32(0xff);
  f.pure('i32.and');
  f.pure('i64.extend_i32_u');
  f.pure('i64.add');
  f.i64(1n);
  f.pure('i64.sub');
  f.i64(-4096n);
  f.pure('i64.and');
  loadField(f, 'tlbKey');
  f.pure('i64.or');
  f.pure('i64.eq');
  f.if();
  pushTlbEntry(f, entry);
  f.get(entry);
  f.memory('i64.load', TLB.readTag);
  f.tee(old);
  f.i64(0xfffn);
  f.pure('i64.and');
  loadField(f, 'tlbKey');
  f.pure('i64.eq');
  f.if();
  // The victim's own place may be the old entry's, and is written last then.
  pushVictimOf(f, () => f.get(old));
  f.set(place);
  swapEntries(f, { entry, victim, place });
  f.else();
  copyEntry(f, entry, victim);
  f.end();
  pushHostBy(f, entry);
  f.return();
  f.end();
  f.get(CPU);
  f.get(REC);
  f.get(ADDRESS);
  f.pure('i32.wrap_i64');
  f.get(ADDRESS);
  f.i64(32n);
  f.pure('i64.shr_u');
  f.pure('i32.wrap_i64');
  f.get(ACCESS);
  f.call(imports.services.translate);
  return f;
}

/** The victim becomes the entry, and the entry the one at `place`. */
function swapEntries(f: FunctionWriter, at: { entry: number; victim: number; place: number }): void {
  for (const field of [TLB.readTag, TLB.writeTag, TLB.addend]) {
    const kept = f.local('i64');
    f.get(at.victim);
    f.memory('i64.load', field);
    f.set(kept);
    f.get(at.place);
    f.get(at.entry);
    f.memory('i64.load', field);
    f.memory('i64.store', field);
    f.get(at.entry);
    f.get(kept);
    f.memory('i64.store', field);
  }
}

function slowLoad(imports: Imports, sizeBytes: number): FunctionWriter {
  const f = new FunctionWriter(3);
  const host = f.local('i32');
  pushTranslated(f, imports, sizeBytes, false);
  f.tee(host);
  f.i32(1);
  f.pure('i32.gt_u');
  f.if(sizeBytes === 16 ? 'v128' : 'i64');
  f.get(host);
  f.memory(LOADS[sizeBytes]!, 0);
  f.else();
  f.get(host);
  f.if();
  pushAccess(f, sizeBytes, false);
  f.call(imports.services.loadSpecial);
  f.drop();
  f.end();
  f.get(CPU);
  f.memory(LOADS[sizeBytes]!, SCRATCH_OFFSET + 0x60);
  f.end();
  return f;
}

function slowStore(imports: Imports, sizeBytes: number): FunctionWriter {
  const f = new FunctionWriter(4);
  const host = f.local('i32');
  pushTranslated(f, imports, sizeBytes, true);
  f.tee(host);
  f.i32(1);
  f.pure('i32.gt_u');
  f.if();
  f.get(host);
  f.get(3);
  f.memory(STORES[sizeBytes]!, 0);
  f.else();
  f.get(host);
  f.if();
  f.get(CPU);
  f.get(3);
  f.memory(STORES[sizeBytes]!, SCRATCH_OFFSET + 0x60);
  pushAccess(f, sizeBytes, true);
  f.call(imports.services.storeSpecial);
  f.drop();
  f.end();
  f.end();
  return f;
}

function slowModify(imports: Imports, sizeBytes: number): FunctionWriter {
  const f = new FunctionWriter(3);
  const host = f.local('i32');
  pushTranslated(f, imports, sizeBytes, true);
  f.set(host);
  f.get(CPU);
  f.i32(0);
  f.memory('i32.store', STATE.scratch0.offset);
  f.get(host);
  f.i32(1);
  f.pure('i32.gt_u');
  f.if('i64');
  f.get(CPU);
  f.get(host);
  f.memory('i32.store', STATE.scratch0.offset);
  f.get(host);
  f.memory(LOADS[sizeBytes]!, 0);
  f.else();
  f.get(host);
  f.if();
  // Checked for writing, so that the store after it cannot fault.
  pushAccess(f, sizeBytes, true);
  f.call(imports.services.loadSpecial);
  f.drop();
  f.end();
  f.get(CPU);
  f.memory(LOADS[sizeBytes]!, SCRATCH_OFFSET + 0x60);
  f.end();
  return f;
}

/** `slow`, for the instruction at codePage + local 1. */
function forRegion(imports: Imports, slow: CoreName, stores: boolean): FunctionWriter {
  const f = new FunctionWriter(stores ? 4 : 3);
  f.get(CPU);
  loadField(f, 'codePage');
  f.get(1);
  f.pure('i64.extend_i32_s');
  f.pure('i64.add');
  f.memory('i64.store', STATE.rip.offset);
  f.get(CPU);
  f.i32(0);
  f.get(2);
  if (stores) f.get(3);
  f.call(imports.core[slow]);
  if (stores) {
    loadField(f, 'codeChanged');
    loadField(f, 'stop');
    f.pure('i32.or');
  }
  return f;
}

/** Sets `entry` to the data TLB's for the address in local 2. */
function pushTlbEntry(f: FunctionWriter, entry: number): void {
  f.get(2);
  f.pure('i32.wrap_i64');
  f.i32(12 - TLB.strideLog2);
  f.pure('i32.shr_u');
  f.i32(((1 << TLB.entriesLog2) - 1) << TLB.strideLog2);
  f.pure('i32.and');
  loadField(f, 'tlb');
  f.pure('i32.add');
  f.set(entry);
}

/** Pushes whether the TLB entry has all of the access to the address in local 2. */
function pushHit(f: FunctionWriter, entry: number, tag: number, sizeBytes: number): void {
  f.get(entry);
  f.memory('i64.load', tag);
  f.get(2);
  f.i64(BigInt(sizeBytes - 1));
  f.pure('i64.add');
  f.i64(-4096n);
  f.pure('i64.and');
  loadField(f, 'tlbKey');
  f.pure('i64.or');
  f.pure('i64.eq');
}

/** Pushes the host offset of the address in local 2 by its TLB entry. */
function pushHostBy(f: FunctionWriter, entry: number): void {
  f.get(2);
  f.pure('i32.wrap_i64');
  f.get(entry);
  f.memory('i32.load', TLB.addend);
  f.pure('i32.add');
}

type AccessKind = 'Load' | 'Store' | 'Modify';

/**
 * An access outside the page that the region has kept for it: by the TLB, or slowly. The page found is kept instead:
 * as the stack's, if it may be written, or in windowPage.
 */
function keptAccess(imports: Imports, cache: 'stack' | 'window', kind: AccessKind, sizeBytes: number): FunctionWriter {
  const store = kind === 'Store';
  const f = new FunctionWriter(store ? 4 : 3);
  const entry = f.local('i32');
  const host = f.local('i32');
  const access = (): void => {
    pushHostBy(f, entry);
    if (store) {
      f.get(3);
      f.memory(STORES[sizeBytes]!, 0);
      f.i32(0);
    } else {
      f.set(host);
      if (kind === 'Modify') {
        f.get(CPU);
        f.get(host);
        f.memory('i32.store', STATE.scratch0.offset);
      }
      f.get(host);
      f.memory(LOADS[sizeBytes]!, 0);
    }
    f.return();
  };
  pushTlbEntry(f, entry);
  pushHit(f, entry, cache === 'window' && kind === 'Load' ? TLB.readTag : TLB.writeTag, sizeBytes);
  f.if();
  f.get(CPU);
  f.get(2);
  f.i64(-4096n);
  f.pure('i64.and');
  f.memory('i64.store', STATE[`${cache}Page`].offset);
  f.get(CPU);
  f.get(entry);
  f.memory('i32.load', TLB.addend);
  if (cache === 'stack') {
    f.get(2);
    f.pure('i32.wrap_i64');
    f.i32(-4096);
    f.pure('i32.and');
    f.pure('i32.add');
  }
  f.memory('i32.store', cache === 'stack' ? STATE.stackHost.offset : STATE.windowAddend.offset);
  access();
  f.end();
  if (cache === 'window') {
    f.get(CPU);
    f.i64(NO_PAGE);
    f.memory('i64.store', STATE.windowPage.offset);
  } else if (kind === 'Load') {
    pushHit(f, entry, TLB.readTag, sizeBytes);
    f.if();
    access();
    f.end();
  }
  for (let parameter = 0; parameter < (store ? 4 : 3); parameter++) f.get(parameter);
  f.call(imports.core[`region${kind}${sizeBytes}` as CoreName]);
  return f;
}

/** Pushes, as an i64, how many of 64 bits the operation in the local `kind` (FLAG_KIND | sizeBytes << 8) leaves. */
function pushUnusedBits(f: FunctionWriter, kind: number): void {
  f.i64(64n);
  f.get(kind);
  f.i32(8);
  f.pure('i32.shr_u');
  f.i32(3);
  f.pure('i32.shl');
  f.pure('i64.extend_i32_u');
  f.pure('i64.sub');
}

function carryWord(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(5);
  const [KIND, FIRST, SECOND, CARRY] = [1, 2, 3, 4];
  const kind = f.local('i32');
  const returnIf = (name: keyof typeof FLAG_KIND, push: () => void): void => {
    f.get(kind);
    f.i32(FLAG_KIND[name]);
    f.pure('i32.eq');
    f.if();
    push();
    f.return();
    f.end();
  };
  f.get(KIND);
  f.i32(FLAG_CARRY);
  f.pure('i32.and');
  f.if();
  f.get(CARRY);
  f.return();
  f.end();
  f.get(KIND);
  f.i32(0xff);
  f.pure('i32.and');
  f.set(kind);
  const compare = (): void => {
    f.get(FIRST);
    f.get(SECOND);
    f.pure('i64.lt_u');
    f.pure('i64.extend_i32_u');
    f.i64(63n);
    f.pure('i64.shl');
  };
  returnIf('subtract', compare);
  // A sum is less than what was added when it has wrapped.
  returnIf('add', compare);
  returnIf('logic', () => f.i64(0n));
  returnIf('increment', () => f.get(SECOND));
  returnIf('decrement', () => f.get(SECOND));
  returnIf('carries', () => {
    f.get(SECOND);
    pushUnusedBits(f, KIND);
    f.pure('i64.shl');
  });
  f.get(CPU);
  f.call(imports.core.settleFlagWords);
  loadField(f, 'flagC');
  return f;
}

/** Truncates the local `value` by the record's address-size code. */
function pushTruncated(f: FunctionWriter, value: number): void {
  const size = f.local('i32');
  f.get(REC);
  f.memory('i32.load16_u', RECORD.segment);
  f.i32(3);
  f.pure('i32.and');
  f.tee(size);
  f.if('i64');
  f.get(value);
  f.i64(0xffffffffn);
  f.i64(0xffffn);
  f.get(size);
  f.i32(1);
  f.pure('i32.eq');
  f.select('i64');
  f.pure('i64.and');
  f.else();
  f.get(value);
  f.end();
}

function offset(): FunctionWriter {
  const f = new FunctionWriter(2);
  const sum = f.local('i64');
  pushIndexedSum(f, CPU, REC);
  f.set(sum);
  pushTruncated(f, sum);
  return f;
}

/** base + (index << scale) + displacement of the record. */
export function pushIndexedSum(f: FunctionWriter, cpu: number, rec: number): void {
  pushBaseSum(f, cpu, rec);
  f.get(cpu);
  f.get(rec);
  f.memory('i32.load16_u', RECORD.index);
  f.pure('i32.add');
  f.memory('i64.load', 0);
  f.get(rec);
  f.memory('i64.load8_u', RECORD.scale);
  f.pure('i64.shl');
  f.pure('i64.add');
}

/** Keeps the address on the stack in `local` and pushes whether it is not canonical (i32): bits 63 to 47 differ. */
export function pushNotCanonical(f: FunctionWriter, local: number): void {
  f.tee(local);
  f.i64(16n);
  f.pure('i64.shl');
  f.i64(16n);
  f.pure('i64.shr_s');
  f.get(local);
  f.pure('i64.ne');
}

/** base + displacement of the record. */
export function pushBaseSum(f: FunctionWriter, cpu: number, rec: number): void {
  f.get(cpu);
  f.get(rec);
  f.memory('i32.load16_u', RECORD.base);
  f.pure('i32.add');
  f.memory('i64.load', 0);
  f.get(rec);
  f.memory('i64.load32_s', RECORD.displacement);
  f.pure('i64.add');
}

function genericAddress(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(4);
  const value = f.local('i64');
  const linear = f.local('i64');
  const segment = f.local('i32');
  pushIndexedSum(f, CPU, REC);
  f.get(3);
  f.pure('i64.add');
  f.set(value);
  pushTruncated(f, value);
  f.set(value);
  f.get(REC);
  f.memory('i32.load16_u', RECORD.segment);
  f.i32(~31);
  f.pure('i32.and');
  f.tee(segment);
  f.get(CPU);
  f.pure('i32.add');
  f.memory('i32.load', SEGMENT_FIELDS.flat);
  f.pure('i32.eqz');
  f.if();
  f.get(CPU);
  f.get(REC);
  f.memory('i32.store', STATE.record.offset);
  f.get(segment);
  f.i32(0x100);
  f.pure('i32.sub');
  f.i32(5);
  f.pure('i32.shr_u');
  f.get(value);
  f.get(2);
  f.i32(0xff);
  f.pure('i32.and');
  f.get(2);
  f.i32(8);
  f.pure('i32.shr_u');
  f.call(imports.runtime.checkSegment);
  f.end();
  f.get(CPU);
  f.get(segment);
  f.pure('i32.add');
  f.memory('i64.load', 0);
  f.get(value);
  f.pure('i64.add');
  f.set(linear);
  loadField(f, 'codeSize');
  f.i32(64);
  f.pure('i32.ne');
  f.if();
  // Linear addresses have 32 bits outside 64-bit mode.
  f.get(linear);
  f.i64(0xffffffffn);
  f.pure('i64.and');
  f.return();
  f.end();
  // An offset that is not canonical is refused even where the base makes its sum canonical.
  f.get(value);
  f.i64(16n);
  f.pure('i64.shl');
  f.i64(16n);
  f.pure('i64.shr_s');
  f.get(value);
  f.pure('i64.ne');
  f.if();
  f.get(CPU);
  f.get(REC);
  f.memory('i32.store', STATE.record.offset);
  f.i32(13);
  f.i32(0);
  f.call(imports.runtime.raise);
  f.end();
  f.get(linear);
  return f;
}

/** Dispatches to the record in `rec`: a tail call through the table. */
export function pushDispatch(f: FunctionWriter, imports: Imports, rec: number): void {
  f.get(CPU);
  f.get(rec);
  f.get(rec);
  f.memory('i32.load16_u', RECORD.handler);
  f.returnCallIndirect(imports.handlerType);
}

/** Dispatches to the record in `rec`, whose handler's place is in `handler`. */
function pushDispatchTo(f: FunctionWriter, imports: Imports, rec: number, handler: number): void {
  f.get(CPU);
  f.get(rec);
  f.get(handler);
  f.returnCallIndirect(imports.handlerType);
}

/** Makes `rip` the address in `target`. */
function pushSetRip(f: FunctionWriter, target: number): void {
  f.get(CPU);
  f.get(target);
  f.memory('i64.store', STATE.rip.offset);
  f.get(CPU);
  f.i32(0);
  f.memory('i32.store', STATE.record.offset);
}

/** Back to the run loop. */
function pushLeave(f: FunctionWriter): void {
  f.i32(0);
  f.return();
}

/** budget - 1; when it is used up, leaves with rip = the address in `target` if something waits. */
function pushPoll(f: FunctionWriter, imports: Imports, target: number): void {
  const budget = f.local('i32');
  f.get(CPU);
  loadField(f, 'budget');
  f.i32(1);
  f.pure('i32.sub');
  f.tee(budget);
  f.memory('i32.store', STATE.budget.offset);
  f.get(budget);
  f.i32(0);
  f.pure('i32.lt_s');
  f.if(undefined, 'unlikely');
  pushSetRip(f, target);
  f.get(CPU);
  f.get(REC);
  f.call(imports.services.poll);
  f.if();
  pushLeave(f);
  f.end();
  f.end();
}

/** Makes the flag words right: an instruction's own handler expects them. Mostly they are, which costs no call. */
function pushSettle(f: FunctionWriter, imports: Imports): void {
  loadField(f, 'flagKind');
  f.if();
  f.get(CPU);
  f.call(imports.core.settleFlagWords);
  f.end();
}

/** Counts a jump to the interpreter's code at the address in `target`. */
function pushHeat(f: FunctionWriter, imports: Imports, target: number): void {
  const counter = f.local('i32');
  const count = f.local('i32');
  loadField(f, 'heat');
  f.get(target);
  f.pure('i32.wrap_i64');
  f.i32((1 << HEAT.entriesLog2) - 1);
  f.pure('i32.and');
  f.i32(2);
  f.pure('i32.shl');
  f.pure('i32.add');
  f.tee(counter);
  f.get(counter);
  f.memory('i32.load', 0);
  f.i32(1);
  f.pure('i32.add');
  f.tee(count);
  f.memory('i32.store', 0);
  f.get(count);
  loadField(f, 'heatLimit');
  f.pure('i32.ge_u');
  f.if(undefined, 'unlikely');
  // Not 0: it has been gone to.
  f.get(counter);
  f.i32(1);
  f.memory('i32.store', 0);
  pushSetRip(f, target);
  f.get(CPU);
  f.call(imports.services.hot);
  f.end();
}

/** Sets `rec` to the record at offset `target` in CS, and codePage; returns from the function when there is none. */
function pushLookup(f: FunctionWriter, imports: Imports, target: number, rec: number): void {
  const linear = f.local('i64');
  const entry = f.local('i32');
  f.get(target);
  loadField(f, 'codeBase');
  f.pure('i64.add');
  f.set(linear);
  loadField(f, 'codeTlb');
  f.get(linear);
  f.i64(BigInt(12 - CODE_TLB.strideLog2));
  f.pure('i64.shr_u');
  f.pure('i32.wrap_i64');
  f.i32(((1 << CODE_TLB.entriesLog2) - 1) << CODE_TLB.strideLog2);
  f.pure('i32.and');
  f.pure('i32.add');
  f.set(entry);
  f.i32(0);
  f.set(rec);
  f.get(entry);
  f.memory('i64.load', CODE_TLB.tag);
  f.get(linear);
  f.i64(-4096n);
  f.pure('i64.and');
  loadField(f, 'tlbKey');
  f.pure('i64.or');
  f.pure('i64.eq');
  f.if();
  f.get(entry);
  f.memory('i32.load', CODE_TLB.page);
  f.get(linear);
  f.pure('i32.wrap_i64');
  f.i32(4095);
  f.pure('i32.and');
  f.i32(2);
  f.pure('i32.shl');
  f.pure('i32.add');
  f.memory('i32.load', 0);
  f.set(rec);
  f.get(CPU);
  f.get(linear);
  f.i64(-4096n);
  f.pure('i64.and');
  loadField(f, 'codeBase');
  f.pure('i64.sub');
  f.memory('i64.store', STATE.codePage.offset);
  f.end();
  f.get(rec);
  f.pure('i32.eqz');
  f.if(undefined, 'unlikely');
  pushSetRip(f, target);
  f.get(CPU);
  f.call(imports.services.resolve);
  f.tee(rec);
  f.pure('i32.eqz');
  f.if();
  pushLeave(f);
  f.end();
  f.end();
}

/** Dispatches to the slow twin of the record's handler. */
function pushSlow(f: FunctionWriter, imports: Imports): void {
  f.get(CPU);
  f.get(REC);
  f.get(REC);
  f.memory('i32.load16_u', RECORD.handler);
  f.i32(1);
  f.pure('i32.add');
  f.returnCallIndirect(imports.handlerType);
}

function slow(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(2);
  pushSlow(f, imports);
  return f;
}

function miss(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(4);
  const host = f.local('i32');
  for (let parameter = 0; parameter < 4; parameter++) f.get(parameter);
  f.call(imports.core.translate);
  f.tee(host);
  f.i32(1);
  f.pure('i32.gt_u');
  f.if();
  pushDispatch(f, imports, REC);
  f.end();
  f.get(host);
  f.if();
  pushSlow(f, imports);
  f.end();
  f.i32(0);
  return f;
}

function resume(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(2);
  const target = f.local('i64');
  loadField(f, 'codePage');
  f.get(REC);
  f.memory('i64.load16_u', RECORD.ip);
  f.pure('i64.add');
  f.tee(target);
  loadField(f, 'codeLimit');
  f.pure('i64.gt_u');
  f.if();
  // The run loop raises what running off the end of CS raises.
  pushSetRip(f, target);
  pushLeave(f);
  f.end();
  f.get(CPU);
  f.get(REC);
  f.get(target);
  f.returnCall(imports.core.jump);
  return f;
}

function writeFlagWords(): FunctionWriter {
  const f = new FunctionWriter(4);
  const [KIND, X, Y] = [1, 2, 3];
  const RESULT = f.local('i64');
  const shift = f.local('i64');
  const extended = f.local('i64');
  const carries = f.local('i64');
  const kind = f.local('i32');
  const step = f.local('i32');
  const carry = f.local('i64');
  const isKind = (name: keyof typeof FLAG_KIND): void => {
    f.get(kind);
    f.i32(FLAG_KIND[name]);
    f.pure('i32.eq');
  };
  f.get(KIND);
  f.i32(0xff);
  f.pure('i32.and');
  f.set(kind);
  f.get(X);
  f.set(RESULT);
  isKind('increment');
  isKind('decrement');
  f.pure('i32.or');
  f.tee(step);
  f.if();
  f.get(Y);
  f.set(carry);
  f.i64(1n);
  f.set(Y);
  f.end();
  // The words hold what is behind the operation's size too, which the shift below drops.
  isKind('add');
  isKind('increment');
  f.pure('i32.or');
  f.if();
  f.get(RESULT);
  f.get(Y);
  f.pure('i64.sub');
  f.set(X);
  f.end();
  isKind('decrement');
  f.if();
  f.get(RESULT);
  f.get(Y);
  f.pure('i64.add');
  f.set(X);
  f.end();
  isKind('subtract');
  f.if();
  f.get(X);
  f.get(Y);
  f.pure('i64.sub');
  f.set(RESULT);
  f.end();
  pushUnusedBits(f, KIND);
  f.set(shift);
  f.get(RESULT);
  f.get(shift);
  f.pure('i64.shl');
  f.get(shift);
  f.pure('i64.shr_s');
  f.set(extended);
  isKind('logic');
  f.if('i64');
  f.i64(0n);
  f.else();
  isKind('carries');
  f.if('i64');
  f.get(Y);
  f.else();
  isKind('add');
  isKind('increment');
  f.pure('i32.or');
  f.if('i64');
  f.get(X);
  f.get(Y);
  f.pure('i64.and');
  f.get(X);
  f.get(Y);
  f.pure('i64.or');
  f.get(RESULT);
  f.i64(-1n);
  f.pure('i64.xor');
  f.pure('i64.and');
  f.pure('i64.or');
  f.else();
  f.get(X);
  f.i64(-1n);
  f.pure('i64.xor');
  f.get(Y);
  f.pure('i64.and');
  f.get(X);
  f.get(Y);
  f.pure('i64.xor');
  f.i64(-1n);
  f.pure('i64.xor');
  f.get(RESULT);
  f.pure('i64.and');
  f.pure('i64.or');
  f.end();
  f.end();
  f.end();
  f.set(carries);
  const store = (name: StateField, push: () => void): void => {
    f.get(CPU);
    push();
    f.memory(STATE[name].type === 'u64' ? 'i64.store' : 'i32.store', STATE[name].offset);
  };
  store('flagZ', () => f.get(extended));
  store('flagN', () => f.get(extended));
  f.get(carries);
  f.get(shift);
  f.pure('i64.shl');
  f.set(extended);
  f.get(step);
  f.if();
  // CF stays; bit 62 differs from it when the operation overflowed.
  f.get(carry);
  f.i64(-(1n << 63n));
  f.pure('i64.and');
  f.get(carry);
  f.get(extended);
  f.pure('i64.xor');
  f.get(extended);
  f.i64(1n);
  f.pure('i64.shl');
  f.pure('i64.xor');
  f.i64(-(1n << 63n));
  f.pure('i64.and');
  f.i64(1n);
  f.pure('i64.shr_u');
  f.pure('i64.or');
  f.set(extended);
  f.end();
  store('flagC', () => f.get(extended));
  store('flagA', () => {
    f.get(carries);
    f.pure('i32.wrap_i64');
  });
  return f;
}

function settleFlagWords(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(1);
  loadField(f, 'flagKind');
  f.if();
  f.get(CPU);
  loadField(f, 'flagKind');
  loadField(f, 'flagFirst');
  loadField(f, 'flagSecond');
  f.call(imports.core.writeFlagWords);
  f.get(CPU);
  f.i32(0);
  f.memory('i32.store', STATE.flagKind.offset);
  f.end();
  return f;
}

function settleFlags(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(5);
  const [KIND, FIRST, SECOND, CARRY] = [1, 2, 3, 4];
  const kind = f.local('i32');
  f.get(KIND);
  f.i32(FLAG_CARRY - 1);
  f.pure('i32.and');
  f.tee(kind);
  f.if();
  f.get(CPU);
  f.get(kind);
  f.get(FIRST);
  f.get(SECOND);
  f.call(imports.core.writeFlagWords);
  f.get(CPU);
  f.i32(0);
  f.memory('i32.store', STATE.flagKind.offset);
  f.else();
  f.get(CPU);
  f.call(imports.core.settleFlagWords);
  f.end();
  f.get(KIND);
  f.i32(FLAG_CARRY);
  f.pure('i32.and');
  f.if();
  f.get(CPU);
  f.get(CARRY);
  f.memory('i64.store', STATE.flagC.offset);
  f.end();
  return f;
}

function interpret(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(3);
  const rec = f.local('i32');
  pushLookup(f, imports, 2, rec);
  f.get(CPU);
  f.call(imports.core.settleFlagWords);
  f.get(rec);
  f.memory('i32.load16_u', RECORD.handler);
  f.i32(FIRST_REGION);
  f.pure('i32.ge_u');
  f.if();
  f.get(rec);
  f.memory('i32.load', RECORD.link);
  f.set(rec);
  f.end();
  pushDispatch(f, imports, rec);
  return f;
}

function jump(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(3);
  const rec = f.local('i32');
  const handler = f.local('i32');
  pushPoll(f, imports, 2);
  pushLookup(f, imports, 2, rec);
  f.get(rec);
  f.memory('i32.load16_u', RECORD.handler);
  f.tee(handler);
  f.i32(FIRST_REGION);
  f.pure('i32.lt_u');
  f.if();
  pushSettle(f, imports);
  pushHeat(f, imports, 2);
  f.end();
  pushDispatchTo(f, imports, rec, handler);
  return f;
}

function jumpOut(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(3);
  const rec = f.local('i32');
  const handler = f.local('i32');
  pushPoll(f, imports, 2);
  pushFollow(f, imports, rec, handler);
  pushDispatchTo(f, imports, rec, handler);
  return f;
}

function ret(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(3);
  f.get(2);
  loadField(f, 'expectedReturn');
  f.pure('i64.eq');
  f.if();
  f.i32(1);
  f.return();
  f.end();
  f.get(CPU);
  f.get(REC);
  f.get(2);
  f.returnCall(imports.core.jump);
  return f;
}

/**
 * In 64-bit code: sets `rec` to the record at the address in local 2, by the jump cache or for it, `handler` to its
 * handler's place, and codePage; an instruction's own handler expects the flag words.
 */
function pushFollow(f: FunctionWriter, imports: Imports, rec: number, handler: number): void {
  const entry = f.local('i32');
  pushEntry(f, 2, entry);
  f.get(entry);
  f.memory('i32.load', JUMP_CACHE.record);
  f.set(rec);
  f.get(entry);
  f.memory('i32.load', JUMP_CACHE.handler);
  f.set(handler);
  pushIsOther(f, 2, entry);
  pushIsOld(f, entry);
  f.pure('i32.or');
  f.pure('i32.eqz');
  f.if(undefined, 'likely');
  pushEnterPage(f, 2);
  f.else();
  pushLookup(f, imports, 2, rec);
  f.get(rec);
  f.memory('i32.load16_u', RECORD.handler);
  f.tee(handler);
  f.i32(FIRST_REGION);
  f.pure('i32.ge_u');
  f.if();
  // A region whose pages have not been looked at since the epoch began does that itself, and comes in the next time.
  f.get(rec);
  f.memory('i32.load8_u', REGION_RECORD.spansPages);
  f.pure('i32.eqz');
  f.get(rec);
  f.memory('i32.load', REGION_RECORD.verifiedEpoch);
  loadField(f, 'codeEpoch');
  f.pure('i32.eq');
  f.get(rec);
  f.memory('i64.load', REGION_RECORD.verifiedPage);
  loadField(f, 'codePage');
  f.pure('i64.eq');
  f.pure('i32.and');
  f.pure('i32.or');
  f.if();
  f.get(entry);
  f.get(2);
  f.memory('i64.store', JUMP_CACHE.target);
  f.get(entry);
  loadField(f, 'codeEpoch');
  f.memory('i32.store', JUMP_CACHE.epoch);
  f.get(entry);
  f.get(rec);
  f.i32(REGION_VERIFIED);
  f.pure('i32.or');
  f.memory('i32.store', JUMP_CACHE.record);
  f.get(entry);
  f.get(handler);
  f.memory('i32.store', JUMP_CACHE.handler);
  f.end();
  f.else();
  pushSettle(f, imports);
  pushHeat(f, imports, 2);
  f.end();
  f.end();
}

function nestedCall(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(4);
  const BACK = 3;
  const rec = f.local('i32');
  const handler = f.local('i32');
  const depth = f.local('i32');
  const epoch = f.local('i32');
  const expected = f.local('i64');
  const page = f.local('i64');
  loadField(f, 'callDepth');
  f.tee(depth);
  f.i32(MAXIMUM_CALL_DEPTH);
  f.pure('i32.ge_s');
  f.if(undefined, 'unlikely');
  pushSetRip(f, 2);
  pushLeave(f);
  f.end();
  // Calls and returns alone, as in a recursion like a tree, would meet no other poll.
  pushPoll(f, imports, 2);
  loadField(f, 'expectedReturn');
  f.set(expected);
  loadField(f, 'codePage');
  f.set(page);
  loadField(f, 'codeEpoch');
  f.set(epoch);
  pushFollow(f, imports, rec, handler);
  const store = (name: StateField, push: () => void): void => {
    f.get(CPU);
    push();
    f.memory(STATE[name].type === 'u64' ? 'i64.store' : 'i32.store', STATE[name].offset);
  };
  store('callDepth', () => {
    f.get(depth);
    f.i32(1);
    f.pure('i32.add');
  });
  store('expectedReturn', () => f.get(BACK));
  f.get(CPU);
  f.get(rec);
  f.get(handler);
  f.callIndirect(imports.handlerType);
  f.pure('i32.eqz');
  f.if(undefined, 'unlikely');
  pushLeave(f);
  f.end();
  store('callDepth', () => f.get(depth));
  store('expectedReturn', () => f.get(expected));
  store('codePage', () => f.get(page));
  f.get(epoch);
  loadField(f, 'codeEpoch');
  f.pure('i32.eq');
  f.if(undefined, 'likely');
  f.i32(1);
  f.return();
  f.end();
  pushSetRip(f, BACK);
  f.i32(0);
  return f;
}

/**
 * Sets `target` to a direct branch's target: codePage + imm0, truncated by the operand size that the record carries.
 */
function pushDirectTarget(f: FunctionWriter, target: number): void {
  loadField(f, 'codePage');
  f.get(REC);
  f.memory('i64.load', RECORD.imm0);
  f.pure('i64.add');
  f.set(target);
  pushTruncated(f, target);
  f.set(target);
}

function directTarget(): FunctionWriter {
  const f = new FunctionWriter(2);
  const target = f.local('i64');
  pushDirectTarget(f, target);
  f.get(target);
  return f;
}

function jumpDirect(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(2);
  const target = f.local('i64');
  const found = f.local('i32');
  const page = f.local('i64');
  pushDirectTarget(f, target);
  pushPoll(f, imports, target);
  f.get(REC);
  f.get(REC);
  f.memory('i32.load', BRANCH_COUNT);
  f.i32(1);
  f.pure('i32.sub');
  f.tee(found);
  f.memory('i32.store', BRANCH_COUNT);
  f.get(found);
  f.i32(0);
  f.pure('i32.lt_s');
  f.if();
  // It may be asked for again, but not at every jump where that is after the first.
  f.get(REC);
  loadField(f, 'heatLimit');
  f.i32(1);
  f.pure('i32.sub');
  f.tee(found);
  f.i32(0x7fffffff);
  f.get(found);
  f.select('i32');
  f.memory('i32.store', BRANCH_COUNT);
  pushSetRip(f, target);
  f.get(CPU);
  f.call(imports.services.hot);
  f.end();
  f.get(REC);
  f.memory('i32.load', RECORD.link);
  f.tee(found);
  f.if();
  pushDispatch(f, imports, found);
  f.end();
  loadField(f, 'codePage');
  f.set(page);
  pushLookup(f, imports, target, found);
  f.get(target);
  f.get(page);
  f.pure('i64.sub');
  f.i64(4096n);
  f.pure('i64.lt_u');
  f.if();
  f.get(REC);
  f.get(found);
  f.memory('i32.store', RECORD.link);
  f.end();
  pushDispatch(f, imports, found);
  return f;
}

/** Defines every core function in a module that was set up with importForCore, and exports them. */
export function defineCore(module: ModuleWriter, imports: Imports): void {
  const define = (name: CoreName, writer: FunctionWriter): void => {
    module.define(imports.core[name], writer);
    module.export(name, imports.core[name]);
    module.name(imports.core[name], name);
  };
  define('translate', translate(imports));
  define('slowLoad1', slowLoad(imports, 1));
  define('slowLoad2', slowLoad(imports, 2));
  define('slowLoad4', slowLoad(imports, 4));
  define('slowLoad8', slowLoad(imports, 8));
  define('slowLoad16', slowLoad(imports, 16));
  define('slowStore1', slowStore(imports, 1));
  define('slowStore2', slowStore(imports, 2));
  define('slowStore4', slowStore(imports, 4));
  define('slowStore8', slowStore(imports, 8));
  define('slowStore16', slowStore(imports, 16));
  define('slowModify1', slowModify(imports, 1));
  define('slowModify2', slowModify(imports, 2));
  define('slowModify4', slowModify(imports, 4));
  define('slowModify8', slowModify(imports, 8));
  for (const size of [1, 2, 4, 8, 16] as const) {
    define(`regionLoad${size}`, forRegion(imports, `slowLoad${size}`, false));
    define(`regionStore${size}`, forRegion(imports, `slowStore${size}`, true));
  }
  for (const size of [1, 2, 4, 8] as const) {
    define(`regionModify${size}`, forRegion(imports, `slowModify${size}`, false));
  }
  for (const cache of ['stack', 'window'] as const) {
    for (const size of [1, 2, 4, 8, 16] as const) {
      define(`${cache}Load${size}`, keptAccess(imports, cache, 'Load', size));
      define(`${cache}Store${size}`, keptAccess(imports, cache, 'Store', size));
    }
    for (const size of [1, 2, 4, 8] as const) {
      define(`${cache}Modify${size}`, keptAccess(imports, cache, 'Modify', size));
    }
  }
  define('offset', offset());
  define('genericAddress', genericAddress(imports));
  define('miss', miss(imports));
  define('slow', slow(imports));
  define('resume', resume(imports));
  define('writeFlagWords', writeFlagWords());
  define('settleFlagWords', settleFlagWords(imports));
  define('settleFlags', settleFlags(imports));
  define('carryWord', carryWord(imports));
  define('interpret', interpret(imports));
  define('directTarget', directTarget());
  define('jump', jump(imports));
  define('jumpOut', jumpOut(imports));
  define('ret', ret(imports));
  define('nestedCall', nestedCall(imports));
  define('jumpDirect', jumpDirect(imports));
}
