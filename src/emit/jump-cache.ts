// Looks the jump cache up (JUMP_CACHE in record.ts): core functions do, and regions where they call and jump.

import { STATE, type StateField } from '../ir/guest-state.ts';
import type { FunctionWriter } from '../wasm/encoder.ts';
import { JUMP_CACHE } from './record.ts';

const CPU = 0;

function loadField(f: FunctionWriter, name: StateField): void {
  f.get(CPU);
  f.memory(STATE[name].type === 'u64' ? 'i64.load' : 'i32.load', STATE[name].offset);
}

/** Sets `entry` to the place of the entry for the address in `target`. */
export function pushEntry(f: FunctionWriter, target: number, entry: number): void {
  f.get(target);
  f.pure('i32.wrap_i64');
  f.tee(entry);
  f.get(entry);
  f.i32(JUMP_CACHE.entriesLog2);
  f.pure('i32.shr_u');
  f.pure('i32.xor');
  f.i32((1 << JUMP_CACHE.entriesLog2) - 1);
  f.pure('i32.and');
  f.i32(JUMP_CACHE.strideLog2);
  f.pure('i32.shl');
  loadField(f, 'jumpCache');
  f.pure('i32.add');
  f.set(entry);
}

/** 1 when the entry is for another address than the one in `target`. */
export function pushIsOther(f: FunctionWriter, target: number, entry: number): void {
  f.get(entry);
  f.memory('i64.load', JUMP_CACHE.target);
  f.get(target);
  f.pure('i64.ne');
}

/** 1 when the entry is from another epoch. */
export function pushIsOld(f: FunctionWriter, entry: number): void {
  f.get(entry);
  f.memory('i32.load', JUMP_CACHE.epoch);
  loadField(f, 'codeEpoch');
  f.pure('i32.ne');
}

/** The entry holds: makes codePage that of the address in `target`. */
export function pushEnterPage(f: FunctionWriter, target: number): void {
  f.get(CPU);
  f.get(target);
  f.i64(-4096n);
  f.pure('i64.and');
  f.memory('i64.store', STATE.codePage.offset);
}

/** The operands of a call of the entry's handler: processor, record, and the place in the table. */
export function pushHandlerCall(f: FunctionWriter, entry: number): void {
  f.get(CPU);
  f.get(entry);
  f.memory('i32.load', JUMP_CACHE.record);
  f.get(entry);
  f.memory('i32.load', JUMP_CACHE.handler);
}
