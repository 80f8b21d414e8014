// The decoder against iced-x86, over random bytes (BULKHEAD_DECODE_CASES of them, BULKHEAD_SEED to repeat a run).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import iced from 'iced-x86';
import { decode } from '../../src/decode/decoder.ts';
import type { CodeSize } from '../../src/decode/instruction.ts';
import { parseOpcodeText } from '../../src/isa/opcode-text.ts';
import { ROWS } from '../../src/isa/rows.ts';
import { icedText, ourText } from './iced-comparison.ts';

const CASES = Number(process.env.BULKHEAD_DECODE_CASES ?? 300_000);
const SEED = Number(process.env.BULKHEAD_SEED ?? 1);
const STRIDE = 16;
const SHOWN_DIFFERENCES = 20;
const IP = 0x1234_5000n;
/** With fewer cases some rows may stay unseen by chance. */
const CASES_THAT_REACH_EVERY_ROW = 300_000;

/** mulberry32: small, seeded, good enough to pick bytes. */
function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x66, 0x66, 0x67, 0x67, 0xf0, 0xf2, 0xf3, 0xf2, 0xf3];
const MAP_BYTES = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const MANDATORY: Record<string, number[]> = { '66': [0x66], F2: [0xf2], F3: [0xf3] };

/** Three in four are a soup of prefixes and the opcode of a row or of a map; the rest is uniform. */
function fillCase(bytes: Uint8Array, offset: number, random: () => number): void {
  for (let index = 0; index < STRIDE; index++) bytes[offset + index] = random() & 0xff;
  const style = random() & 3;
  if (style === 0) return;
  const head: number[] = [];
  while ((random() & 1) === 0 && head.length < 14) {
    head.push((random() & 3) === 0 ? 0x40 | (random() & 15) : PREFIXES[random() & 15]!);
  }
  if (style === 1) head.push(...MAP_BYTES[random() & 3]!, random() & 0xff);
  else {
    const text = parseOpcodeText(ROWS[random() % ROWS.length]!.opcode);
    if ((random() & 3) !== 0) head.push(...(MANDATORY[text.prefix] ?? []));
    if ((random() & 1) === 0) head.push(0x40 | (random() & 15));
    head.push(...MAP_BYTES[text.map]!, text.byte + (text.plusRegister ? random() & 7 : 0));
    if (text.modrm.kind === 'reg') head.push((random() & 0xc7) | (text.modrm.reg << 3));
    if (text.modrm.kind === 'byte') head.push(text.modrm.byte + (random() % text.modrm.count));
  }
  for (let index = 0; index < Math.min(head.length, STRIDE); index++) bytes[offset + index] = head[index]!;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

const rowsSeen = new Set<number>();

for (const codeSize of [16, 32, 64] as const satisfies CodeSize[]) {
  const count = Math.ceil(CASES / 3);
  test(`${count} random byte strings of ${codeSize}-bit code decode as in iced-x86 (seed ${SEED})`, () => {
    const random = randomSource(SEED * 64 + codeSize);
    const bytes = new Uint8Array(count * STRIDE);
    for (let index = 0; index < count; index++) fillCase(bytes, index * STRIDE, random);
    const instruction = new iced.Instruction();
    const differences: string[] = [];
    let valid = 0;
    for (let offset = 0; offset < bytes.length; offset += STRIDE) {
      const decoder = new iced.Decoder(codeSize, bytes.subarray(offset, offset + STRIDE), iced.DecoderOptions.None);
      decoder.ip = IP;
      decoder.decodeOut(instruction);
      decoder.free();
      const expected = icedText(instruction, codeSize);
      const ours = decode(bytes, offset, STRIDE, codeSize);
      const actual = typeof ours === 'string' ? undefined : ourText(ours, IP + BigInt(ours.lengthBytes));
      if (expected !== undefined) valid++;
      if (typeof ours !== 'string') rowsSeen.add(ours.row.id);
      // 90 with REX.B exchanges R8 and RAX on processors, with F3 before it too; iced says PAUSE.
      const last = offset + instruction.length - 1;
      if (instruction.code === iced.Code.Pause && (bytes[last - 1]! & 0xf1) === 0x41) continue;
      if (actual !== expected) {
        differences.push(
          `${hex(bytes.subarray(offset, offset + STRIDE))}\n  iced: ${expected}\n  ours: ${actual ?? ours}`,
        );
      }
    }
    instruction.free();
    const shown = differences.slice(0, SHOWN_DIFFERENCES).join('\n');
    assert.equal(differences.length, 0, `${differences.length} differences, the first:\n${shown}`);
    assert.ok(valid > count / 4, `only ${valid} of ${count} byte strings were instructions: the generator is poor`);
  });
}

const few = CASES < CASES_THAT_REACH_EVERY_ROW && `${CASES} cases are too few to reach every row`;
test('the random byte strings held an instruction of every row', { skip: few }, () => {
  const unseen = ROWS.filter(({ id }) => !rowsSeen.has(id)).map(({ mnemonic, opcode }) => `${mnemonic} ${opcode}`);
  assert.deepEqual(unseen, []);
});
