import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest, PLACE, RAM_BYTES } from '../../../../tests/engine/guest.ts';
import { IdleHost } from '../../../../tests/engine/idle-host.ts';
import { GuestMemory } from '../../../memory/guest-memory.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../layout.ts';
import { SoftwareVcpu } from '../vcpu.ts';
import { CodeReader } from './code-reader.ts';

const START = BigInt(PLACE.KERNEL_CODE);

function createReader(code: readonly number[]): CodeReader {
  const host = new IdleHost();
  const memory = createGuestMemory(RAM_BYTES);
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
  const vcpu = new SoftwareVcpu({ memory, ramBytes: RAM_BYTES, host, cpuid });
  const ram = new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES);
  new Guest({ vcpu, memory: ram }, host, 'kernel64', new Uint8Array(code)).start();
  return new CodeReader(vcpu, memory, RAM_BYTES);
}

test('a place is reached without a jump over branches that are not taken, up to one that always is', () => {
  // nop; jnz +0; nop; jmp -2; nop
  const reader = createReader([0x90, 0x75, 0, 0x90, 0xeb, 0xfe, 0x90]);
  assert.equal(reader.mayFallTo(START, START + 3n), true);
  assert.equal(reader.mayFallTo(START, START + 4n), true);
  assert.equal(reader.mayFallTo(START, START + 6n), false, 'behind the jump');
  assert.equal(reader.mayFallTo(START, START + 2n), false, 'within an instruction');
  assert.equal(reader.mayFallTo(START + 3n, START), false, 'before it');
  assert.equal(reader.mayFallTo(START, START), false, 'where it stands');
});

test('behind the end of the page anything may come', () => {
  const reader = createReader(new Array<number>(4096).fill(0x90));
  assert.equal(reader.mayFallTo(START + 4000n, START + 4100n), true);
});

test('a repeated instruction comes to itself, and tells the size of its count', () => {
  const reader = createReader([0xf3, 0xaa, 0x67, 0xf3, 0xaa, 0xaa]);
  assert.equal(reader.mayFallTo(START, START), true);
  assert.equal(reader.countBytes(START), 8);
  assert.equal(reader.countBytes(START + 2n), 4);
  assert.equal(reader.countBytes(START + 5n), 0);
});

test('code that is not mapped reads as nothing', () => {
  const reader = createReader([0x90]);
  const { instruction, bytes } = reader.read(0x7000_0000n);
  assert.equal(instruction, undefined);
  assert.equal(reader.mayFallTo(0x7000_0000n, 0x7000_0001n), undefined);
  assert.equal(bytes.length, 0);
});
