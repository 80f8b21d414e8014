import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDecoder } from '../../decode/decoder.ts';
import type { Instruction } from '../../decode/instruction.ts';
import { FIRST_REGION } from '../../emit/imports.ts';
import { RECORD, REGION_RECORD } from '../../emit/record.ts';
import { PORTABLE_FEATURES } from '../../isa/cpuid/portable.ts';
import { CodeCache } from './code-cache.ts';
import type { Form } from './form-table.ts';
import { formOf } from './forms.ts';
import { createGuestMemory, GUEST_RAM_OFFSET, layoutVcpu } from './layout.ts';

const RAM_BYTES = 0x10_0000;
const NOP = 0x90;
const NOP_FORM: Form = { ...formOf(decodeNop()), handler: 0, goesOn: true, pairs: undefined };

function decodeNop(): Instruction {
  const instruction = createDecoder(PORTABLE_FEATURES)(Uint8Array.of(NOP), 0, 1, 64);
  if (typeof instruction === 'string') throw new Error(instruction);
  return instruction;
}

/** A cache over RAM full of NOPs, and what it tells of regions. */
function createCache(): { cache: CodeCache; gone: number[]; replaced: number[]; bytes: Uint8Array; view: DataView } {
  const memory = createGuestMemory(RAM_BYTES);
  const bytes = new Uint8Array(memory.buffer, GUEST_RAM_OFFSET, RAM_BYTES).fill(NOP);
  const view = new DataView(memory.buffer);
  const gone: number[] = [];
  const replaced: number[] = [];
  const { recordsOffset, recordsEnd } = layoutVcpu(0, 1);
  const cache = new CodeCache({
    memory,
    ramBytes: RAM_BYTES,
    recordsOffset,
    recordsEnd,
    decode: createDecoder(PORTABLE_FEATURES),
    writeRecord: () => NOP_FORM,
    fuse: () => {},
    writeSpecial: (record, _kind, _ip, link) => view.setUint32(record + RECORD.link, link, true),
    forbidDirectWrites: () => {},
    clearCodeTlbs: () => {},
    codeMoved: () => {},
    regionGone: (handler) => gone.push(handler),
    regionReplaced: (handler) => replaced.push(handler),
  });
  return { cache, gone, replaced, bytes, view };
}

/** A region of two pages, the second of which the interpreter has never met. */
function installOverTwoPages(cache: CodeCache, handler: number): void {
  const [home, other] = [cache.page(1, 64)!, cache.page(2, 64)!];
  assert.ok(cache.watchCode(home, 0, Uint8Array.of(NOP)));
  assert.ok(cache.watchCode(other, 0, Uint8Array.of(NOP)));
  assert.notEqual(cache.record(home, 0), 0);
  assert.notEqual(cache.install(home, 0, handler, [{ delta: 1, codePage: other }]), 0);
}

test('a store to any page of a region makes an end of it', () => {
  const { cache, gone } = createCache();
  installOverTwoPages(cache, FIRST_REGION);
  cache.noteWrite(2 * 4096, 1);
  assert.deepEqual(gone, [FIRST_REGION]);
  // The same again, with a page that was stale when the region came.
  installOverTwoPages(cache, FIRST_REGION + 1);
  cache.settle();
  cache.noteWrite(2 * 4096, 1);
  assert.deepEqual(gone, [FIRST_REGION, FIRST_REGION + 1]);
});

test('a region that is translated again keeps its record, and looks at its pages anew', () => {
  const { cache, gone, replaced, view } = createCache();
  const home = cache.page(1, 64)!;
  const own = cache.record(home, 0);
  const record = cache.install(home, 0, FIRST_REGION, []);
  view.setUint32(record + REGION_RECORD.verifiedEpoch, 7, true);
  const other = cache.page(2, 64)!;
  assert.ok(cache.watchCode(other, 0, Uint8Array.of(NOP)));
  assert.equal(cache.install(home, 0, FIRST_REGION + 1, [{ delta: 1, codePage: other }]), record);
  assert.deepEqual([gone, replaced], [[], [FIRST_REGION]]);
  assert.equal(view.getUint16(record + RECORD.handler, true), FIRST_REGION + 1);
  assert.equal(view.getUint32(record + RECORD.link, true), own);
  assert.equal(view.getUint32(record + REGION_RECORD.verifiedEpoch, true), 0);
  assert.equal(view.getUint8(record + REGION_RECORD.spansPages), 1);
  cache.noteWrite(2 * 4096, 1);
  assert.deepEqual(gone, [FIRST_REGION + 1]);
});

test('a store beside the code leaves a region as it is', () => {
  const { cache, gone } = createCache();
  installOverTwoPages(cache, FIRST_REGION);
  cache.noteWrite(2 * 4096 + 64, 8);
  assert.deepEqual(gone, []);
});

test('bytes that have changed meanwhile are told', () => {
  const { cache, bytes } = createCache();
  bytes[3 * 4096 + 5] = 0xc3;
  assert.equal(cache.watchCode(cache.page(3, 64)!, 4, Uint8Array.of(NOP, NOP)), false);
});

test('memory of pages that are no code any more is used again', () => {
  const { cache } = createCache();
  for (let round = 0; round < 3; round++) {
    for (let page = 16; page < 32; page++) cache.record(cache.page(page, 64)!, 0);
    cache.noteWrite(16 * 4096, 16 * 4096);
    cache.settle();
    assert.equal(cache.bytesUsed, 0);
  }
});

test('a region that is taken away leaves its place to the interpreter, and its memory to the next one there', () => {
  const { cache, view } = createCache();
  const home = cache.page(1, 64)!;
  const own = cache.record(home, 0);
  const record = cache.install(home, 0, FIRST_REGION, []);
  assert.equal(cache.record(home, 0), record);
  const { bytesUsed } = cache;
  for (let round = 1; round < 1000; round++) {
    cache.removeRegions(new Set([FIRST_REGION + round - 1]));
    assert.equal(cache.record(home, 0), own);
    assert.equal(cache.install(home, 0, FIRST_REGION + round, []), record);
    assert.equal(view.getUint32(record + RECORD.link, true), own);
  }
  assert.equal(cache.bytesUsed, bytesUsed);
});
