// Two pages that meet in the direct-mapped TLB: what one evicts is kept as a victim, and whatever drops a TLB entry
// drops that too. Guests may see which: an entry of a page table is changed without an INVLPG.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TLB } from '../../src/emit/record.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Guest, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { PTE } from './page-tables.ts';

const WINDOW = 0x8000_0000;
/** The other page at the same place of the TLB. */
const RIVAL = WINDOW + (4096 << TLB.entriesLog2);
/** At another place. */
const THIRD = WINDOW + 0x5000;
const BEFORE = PLACE.KERNEL_DATA;
const AFTER = PLACE.KERNEL_DATA + 0x1000;

const READ_WINDOW_TO_ECX = [0x8b, 0x08]; // mov ecx, [rax]
const CHANGE_ENTRY = [0x48, 0x89, 0x13]; // mov [rbx], rdx
const READ_RIVAL = [0x45, 0x8b, 0x01]; // mov r8d, [r9]
const INVALIDATE_WINDOW = [0x0f, 0x01, 0x38]; // invlpg [rax]
const LOAD_CR3 = [0x0f, 0x22, 0xdf]; // mov cr3, rdi
const READ_WINDOW_TO_ESI = [0x8b, 0x30]; // mov esi, [rax]
const HALT = [0xf4];

function guestWith(code: readonly number[]): Guest {
  const host = new IdleHost();
  const memory = createGuestMemory(RAM_BYTES);
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
  const vcpu = new SoftwareVcpu({ memory, ramBytes: RAM_BYTES, host, cpuid });
  const parts = { vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES) };
  const guest = new Guest(parts, host, 'kernel64', Uint8Array.from(code));
  guest.tables.map(BigInt(WINDOW), BEFORE, PTE.W);
  guest.tables.map(BigInt(RIVAL), AFTER, PTE.W);
  guest.setRegister('rax', BigInt(WINDOW));
  guest.setRegister('r9', BigInt(RIVAL));
  return guest;
}

function registersBehind(guest: Guest): readonly bigint[] {
  guest.start();
  assert.equal(guest.run().kind, 'halted-forever');
  return guest.vcpu.getState().gpr;
}

/** What is read at WINDOW once it has been evicted and its entry changed. */
function readEvicted(between: readonly number[]): bigint {
  const guest = guestWith([
    ...READ_WINDOW_TO_ECX,
    ...CHANGE_ENTRY,
    ...READ_RIVAL,
    ...between,
    ...READ_WINDOW_TO_ESI,
    ...HALT,
  ]);
  guest.memory.writeU64(BEFORE, 0xaaaan);
  guest.memory.writeU64(AFTER, 0xbbbbn);
  guest.setRegister('rbx', BigInt(guest.tables.entry(BigInt(WINDOW), 1)));
  guest.setRegister('rdx', BigInt(AFTER) | PTE.P | PTE.W);
  guest.setRegister('rdi', guest.state.cr3);
  const gpr = registersBehind(guest);
  assert.equal(gpr[1], 0xaaaan);
  assert.equal(gpr[8], 0xbbbbn);
  return gpr[6]!;
}

test('a page that another one has evicted is still known', () => {
  assert.equal(readEvicted([]), 0xaaaan);
});

test('it is still known when they have met again and again', () => {
  const turns = Array.from({ length: 9 }, () => [...READ_WINDOW_TO_ESI, ...READ_RIVAL]);
  assert.equal(readEvicted(turns.flat()), 0xaaaan);
});

test('INVLPG drops an evicted page', () => {
  assert.equal(readEvicted(INVALIDATE_WINDOW), 0xbbbbn);
});

test('a load of CR3 drops an evicted page', () => {
  assert.equal(readEvicted(LOAD_CR3), 0xbbbbn);
});

const WRITE_WINDOW = [0x89, 0x88, 0x00, 0x08, 0x00, 0x00]; // mov [rax+0x800], ecx
const WRITE_DIRECTLY = [0x89, 0x8d, 0x00, 0x08, 0x00, 0x00]; // mov [rbp+0x800], ecx
const CALL = [0xff, 0xd5]; // call rbp
const WRITE_THIRD = [0x89, 0x8e, 0x00, 0x08, 0x00, 0x00]; // mov [rsi+0x800], ecx
const KEEP_RESULT = [0x41, 0x89, 0xfa]; // mov r10d, edi
const CHANGE_CODE = [0x89, 0x50, 0x01]; // mov [rax+1], edx
const FUNCTION = [0xbf, 0x11, 0x11, 0x00, 0x00, 0xc3]; // mov edi, 0x1111; ret

for (const [name, writes] of [
  ['one address', WRITE_WINDOW],
  ['two addresses', [...WRITE_DIRECTLY, ...WRITE_WINDOW]],
  ['three addresses', [...WRITE_DIRECTLY, ...WRITE_WINDOW, ...WRITE_THIRD]],
] as const) {
  test(`a page written by ${name} and evicted since is watched when it becomes code`, () => {
    const guest = guestWith([...writes, ...READ_RIVAL, ...CALL, ...KEEP_RESULT, ...CHANGE_CODE, ...CALL, ...HALT]);
    guest.memory.bytes(BEFORE, FUNCTION.length).set(FUNCTION);
    guest.setRegister('rbp', BigInt(BEFORE));
    guest.tables.map(BigInt(THIRD), BEFORE, PTE.W);
    guest.setRegister('rsi', BigInt(THIRD));
    guest.setRegister('rdx', 0x2222n);
    const gpr = registersBehind(guest);
    assert.equal(gpr[10], 0x1111n);
    assert.equal(gpr[7], 0x2222n);
  });
}
