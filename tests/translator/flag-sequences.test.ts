// Every three instructions in a row that write or keep flags, and what the flags are then: to PUSHFQ, to a condition,
// to a carry. Flags that stay operands in translated code meet those that are words, and those that some keep.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code, RAX, RBX, RCX, RDX } from './code.ts';
import { Comparison } from './comparison.ts';
import { item } from './draft.ts';
import { generateProgram } from './generator.ts';
import { MODES } from './guest.ts';
import { PAGE } from './guest-places.ts';
import { END, type Item, type Program } from './program.ts';

const FLAG_WRITERS: Readonly<Record<string, readonly number[]>> = {
  add: [0x48, 0x01, 0xd8],
  sub: [0x29, 0xd8],
  adc: [0x48, 0x11, 0xd8],
  sbb: [0x18, 0xd8],
  and: [0x48, 0x21, 0xd8],
  cmp: [0x66, 0x39, 0xd8],
  inc: [0xff, 0xc3],
  dec: [0x48, 0xff, 0xcb],
  neg: [0xf7, 0xdb],
  sahf: [0x9e],
  clc: [0xf8],
  stc: [0xf9],
  cmc: [0xf5],
  bt: [0x0f, 0xa3, 0xd8],
  bsf: [0x48, 0x0f, 0xbc, 0xd0],
  tzcnt: [0xf3, 0x0f, 0xbc, 0xd0],
  popcnt: [0xf3, 0x0f, 0xb8, 0xd3],
  'shl by one': [0xd1, 0xe3],
  'shl by cl': [0x48, 0xd3, 0xe3],
  'rcl by one': [0xd0, 0xd3],
  'rol by cl': [0xd3, 0xc3],
  'shld by cl': [0x0f, 0xa5, 0xd3],
  mul: [0x48, 0xf7, 0xe3],
  imul: [0x0f, 0xaf, 0xc3],
  comiss: [0x0f, 0x2f, 0xc1],
  cmpxchg: [0x48, 0x0f, 0xb1, 0xdb],
  xadd: [0x0f, 0xc1, 0xc3],
};
const NAMES = Object.keys(FLAG_WRITERS);
const FLAGS = [0x0n, 0x8d5n, 0x41n, 0x894n];

// BULKHEAD_TRANSLATE=first asks for all of them; every run of the tests has a few.
const THIRDS = process.env.BULKHEAD_TRANSLATE === 'first' ? NAMES.length : 3;

/** Sequences that begin with `first`; each leaves its flags, a condition and a carry in the data. */
function sequencesOf(first: string, flags: bigint, shift: number): Program {
  const items: Item[] = [];
  let at = 0;
  for (const second of NAMES) {
    const some = Array.from({ length: THIRDS }, (_, k) => NAMES[(items.length + k * 5) % NAMES.length]!);
    for (const third of ['', ...some]) {
      const code = new Code().movImmediate(RAX, 0x8000_0000_7fff_0041n).movImmediate(RBX, 0x7fff_ffff_ffff_ff80n);
      code
        .movImmediate(RDX, 1n)
        .movImmediate(RCX, BigInt(shift))
        .raw(0x68, Number(flags & 0xffn), Number(flags >> 8n), 0, 0);
      code.raw(0x9d, ...FLAG_WRITERS[first]!, ...FLAG_WRITERS[second]!, ...(FLAG_WRITERS[third] ?? []));
      // One consumer for each sequence in turn: it may make words of the flags.
      const consumer = (at / 8) % 3;
      if (consumer === 0) code.raw(0x9c).pop(RAX);
      else if (consumer === 1) code.raw(0x0f, 0x97, 0xc0).raw(0x0f, 0x9c, 0xc4);
      else code.op([0x13], { size: 8, reg: RAX, rm: RDX });
      code.store({ label: 'data', displacement: at }, RAX);
      items.push(item(`${first}, ${second}, ${third}`, code));
      at += 8;
    }
  }
  assert.ok(at < 8 * PAGE);
  const plain = generateProgram('plain', ['none']);
  return { ...plain, interrupts: false, mainCalls: items, mainEnd: new Code().jmp(END), functions: [] };
}

test('three instructions in a row leave flags as they do interpreted', () => {
  const comparison = new Comparison([MODES.first]);
  const different: string[] = [];
  for (const [k, first] of NAMES.entries()) {
    const verdict = comparison.compare(sequencesOf(first, FLAGS[k % FLAGS.length]!, k % 4 === 0 ? 0 : k));
    if (verdict.kind !== 'same') different.push(`${first}: ${JSON.stringify(verdict)}`);
  }
  assert.deepEqual(different, []);
});
