// The decoder against iced-x86 over the text of real programs, by a linear sweep that both must step through alike. A
// part of each program, unless BULKHEAD_DECODE_CASES asks for a million cases or more.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import iced from 'iced-x86';
import { decode } from '../../src/decode/decoder.ts';
import { icedText, ourText } from './iced-comparison.ts';
import { programSources } from './programs.ts';

const WHOLE = Number(process.env.BULKHEAD_DECODE_CASES ?? 0) >= 1_000_000;
const PART_WINDOWS = 8;
const PART_WINDOW_BYTES = 48 << 10;
const MAXIMUM_LENGTH_BYTES = 15;
const IP = 0x1234_5000n;

function windowsOf(section: Uint8Array): Uint8Array[] {
  if (WHOLE || section.length <= PART_WINDOWS * PART_WINDOW_BYTES) return [section];
  const stride = Math.floor(section.length / PART_WINDOWS);
  return Array.from({ length: PART_WINDOWS }, (_, index) =>
    section.subarray(index * stride, index * stride + PART_WINDOW_BYTES),
  );
}

for (const { name, read } of programSources()) {
  const skip = read === undefined && 'that image has not been made on this host';
  test(`${WHOLE ? 'every instruction' : 'a part'} of ${name} decodes as in iced-x86`, { skip }, (context) => {
    const { codeSize, sections } = read!();
    const instruction = new iced.Instruction();
    const differences: string[] = [];
    let [count, invalid] = [0, 0];
    for (const bytes of sections.flatMap(windowsOf)) {
      const decoder = new iced.Decoder(codeSize, bytes, iced.DecoderOptions.None);
      for (let offset = 0; offset + MAXIMUM_LENGTH_BYTES <= bytes.length; ) {
        decoder.position = offset;
        decoder.ip = IP;
        decoder.decodeOut(instruction);
        const expected = icedText(instruction, codeSize);
        const ours = decode(bytes, offset, bytes.length - offset, codeSize);
        const actual = typeof ours === 'string' ? undefined : ourText(ours, IP + BigInt(ours.lengthBytes));
        if (actual !== expected && differences.length < 20) {
          const shown = Buffer.from(bytes.subarray(offset, offset + MAXIMUM_LENGTH_BYTES)).toString('hex');
          differences.push(`${shown}\n  iced: ${expected}\n  ours: ${actual ?? ours}`);
        }
        count++;
        if (expected === undefined) invalid++;
        offset += instruction.isInvalid ? 1 : instruction.length;
      }
      decoder.free();
    }
    instruction.free();
    context.diagnostic(`${count} instructions, ${invalid} of them in no instruction set of ours`);
    assert.deepEqual(differences, []);
    assert.ok(count > 10_000, 'the text is implausibly short');
  });
}
