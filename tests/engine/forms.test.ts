import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDecoder } from '../../src/decode/decoder.ts';
import type { Instruction } from '../../src/decode/instruction.ts';
import { formNumber, formOf } from '../../src/engine/software/forms.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { USUAL_FORMS } from '../../src/engine/software/usual-forms.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import { PORTABLE_FEATURES } from '../../src/isa/cpuid/portable.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { RandomSource } from '../fuzz/random-source.ts';
import { Guest, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';

const INSTRUCTIONS = 300_000;
const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x48, 0x41, 0x44, 0x4f];

const decode = createDecoder(PORTABLE_FEATURES);

test('instructions with one form number have one key', (t) => {
  const seed = process.env.BULKHEAD_SEED ?? String(Date.now());
  t.diagnostic(`seed ${seed} (BULKHEAD_SEED repeats it)`);
  const random = new RandomSource(seed);
  const keys = new Map<number, string>();
  const bytes = new Uint8Array(15);
  let met = 0;
  while (met < INSTRUCTIONS) {
    for (let k = 0; k < bytes.length; k++) bytes[k] = random.below(256);
    for (let k = random.below(4) - 1; k >= 0; k--) bytes[k] = PREFIXES[random.below(PREFIXES.length)]!;
    if (random.below(2) === 0) bytes[random.below(3)] = 0x0f;
    const instruction = decode(bytes, 0, bytes.length, ([16, 32, 64] as const)[random.below(3)]!);
    if (typeof instruction === 'string') continue;
    met++;
    const number = formNumber(instruction);
    const { key } = formOf(instruction);
    const known = keys.get(number);
    if (known === undefined) keys.set(number, key);
    else if (known !== key) assert.fail(`seed ${seed}: ${known} and ${key} are both ${number}`);
    assert.ok(number >= 0 && number < 2 ** 31);
  }
});

test('each usual form is an instruction of 64-bit code, or two that share a handler, and there once', () => {
  const keys = USUAL_FORMS.map((item) =>
    item
      .split('+')
      .map((hex) => formOf(decodeWhole(hex)).key)
      .join(' + '),
  );
  assert.equal(new Set(keys).size, keys.length);
});

function decodeWhole(hex: string): Instruction {
  const bytes = Buffer.from(hex, 'hex');
  const instruction = decode(bytes, 0, bytes.length, 64);
  if (typeof instruction === 'string') throw new Error(`${hex}: ${instruction}`);
  assert.equal(instruction.lengthBytes, bytes.length, hex);
  return instruction;
}

/** Modules of handlers, and registers, behind some code of usual forms. */
function run(prepareUsualForms: boolean): { modules: number; registers: readonly bigint[] } {
  const host = new IdleHost();
  const memory = createGuestMemory(RAM_BYTES);
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
  const vcpu = new SoftwareVcpu({ memory, ramBytes: RAM_BYTES, host, cpuid, prepareUsualForms });
  // cmp eax, ecx; jz over; mov edx, 7; over: add eax, ecx; hlt
  const code = Uint8Array.of(0x39, 0xc8, 0x74, 0x05, 0xba, 0x07, 0x00, 0x00, 0x00, 0x01, 0xc8, 0xf4);
  const guest = new Guest(
    { vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES) },
    host,
    'kernel64',
    code,
  );
  guest.setRegister('rax', 3n);
  guest.setRegister('rcx', 5n);
  guest.start();
  assert.equal(guest.run().kind, 'halted-forever');
  return { modules: vcpu.handlers.modules, registers: vcpu.getState().gpr };
}

test('handlers that are prepared come in one module and do the same', () => {
  const prepared = run(true);
  const met = run(false);
  assert.deepEqual(prepared.registers, met.registers);
  assert.ok(prepared.modules < met.modules, `${prepared.modules} modules instead of ${met.modules}`);
});
