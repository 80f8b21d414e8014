// Which places become regions: a place within a function is translated with the function, from where that begins.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decode } from '../../src/decode/decoder.ts';
import { FIRST_REGION } from '../../src/emit/imports.ts';
import { BatchTranslator } from '../../src/engine/software/batch-translator.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import type { RegionJob } from '../../src/engine/software/translation.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Guest, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';

const UNTAKEN = 0x7fff_ffff;
const RET_AND_NOP = [0xc3, 0x0f, 0x1f, 0x40, 0x00];
const MOV = [0x89, 0xf0];
/** Of the place in the function's middle, from its beginning. */
const MIDDLE = 17;
const SECOND_MIDDLE = 21;

const le32 = (value: number): number[] => [...new Uint8Array(new Int32Array([value]).buffer)];

/** Interprets a call of a function at `functionAt`, with `before` in front of it; translates what it is asked for. */
function interpret(functionAt: number, before: readonly number[]) {
  const code = new Uint8Array(functionAt + 64).fill(0xcc);
  // call function; hlt
  code.set([0xe8, ...le32(functionAt - 5), 0xf4]);
  code.set(before, functionAt - before.length);
  // inc rax; test rax, rax; jnz middle; ud2; middle: inc rbx; jz second; ret; second: ret
  code.set([0x48, 0xff, 0xc0, 0x48, 0x85, 0xc0, 0x75, 0x09, 0x0f, 0x0b], functionAt);
  code.set([0x48, 0xff, 0xc3, 0x74, 0x01, 0xc3, 0xc3], functionAt + MIDDLE);
  const memory = createGuestMemory(RAM_BYTES);
  const host = new IdleHost();
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1e9, apicBusHz: 1e9 };
  const options = { memory, ramBytes: RAM_BYTES, host, cpuid, translateAfterSamples: Number.POSITIVE_INFINITY };
  const vcpu = new SoftwareVcpu(options);
  const guest = new Guest(
    { vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES) },
    host,
    'kernel64',
    code,
  );
  guest.start();
  assert.equal(guest.run().kind, 'halted-forever');
  const { tables } = vcpu['code'];
  const root = Number(vcpu.getState().cr3);
  const jobAt = (address: number, insists = false): RegionJob => {
    const offset = address % 4096;
    const around = { root, user: false, linear: BigInt(address - offset) };
    const page = (address - offset) / 4096;
    return { handler: FIRST_REGION, offset, page, single: false, insists, around, tables, heat: 0, untaken: UNTAKEN };
  };
  const translator = new BatchTranslator(memory, decode);
  /** Where the region begins that is made for a place; undefined: none was. */
  const begin = (address: number, insists?: boolean): number | undefined => {
    const { regions } = translator.translate([jobAt(address, insists)]);
    const [region] = regions;
    return region === undefined ? undefined : region.page * 4096 + region.offset;
  };
  const start = PLACE.KERNEL_CODE + functionAt;
  return { begin, start, middle: start + MIDDLE, second: start + SECOND_MIDDLE };
}

describe('a hot place in the middle of a function', () => {
  for (const [where, at] of [
    ['in the page where the function begins', 0x80],
    ['in the page behind that', 0xff0],
  ] as const) {
    test(`is translated with the function: ${where}`, () => {
      const { begin, start, middle } = interpret(at, RET_AND_NOP);
      assert.equal(begin(middle), start);
      assert.equal(begin(middle), undefined, 'is there now');
      assert.equal(begin(middle, true), middle, 'asked for again');
    });
  }

  test('is translated by itself where nothing tells of a beginning', () => {
    const { begin, middle } = interpret(0x80, MOV);
    assert.equal(begin(middle), middle);
  });

  test('is translated by itself where the function does not lead there, as far as has been seen', () => {
    const { begin, second } = interpret(0x80, RET_AND_NOP);
    assert.equal(begin(second), second);
  });
});
