// What a supervisor has found through global pages outlives a switch of the address space, and nothing else does (Intel
// SDM volume 3A, 4.10.2.4). Guests may see which: an entry of a page table is changed without an INVLPG.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import { CR4 } from '../../src/isa/control-registers.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Guest, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { PageTables, PTE } from './page-tables.ts';

const WINDOW = 0x8000_0000;
const BEFORE = PLACE.KERNEL_DATA;
const AFTER = PLACE.KERNEL_DATA + 0x1000;
/** mov ecx, [rax]; mov [rbx], rdx; mov cr3, rdi; mov esi, [rax]; hlt: rbx is where the entry for [rax] lies. */
const CODE = new Uint8Array([0x8b, 0x08, 0x48, 0x89, 0x13, 0x0f, 0x22, 0xdf, 0x8b, 0x30, 0xf4]);

/** What the guest reads behind the switch to itself, or to `second`. */
function readBehindSwitch(flags: bigint, prepare: (guest: Guest) => void = () => {}): bigint {
  const host = new IdleHost();
  const memory = createGuestMemory(RAM_BYTES);
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
  const vcpu = new SoftwareVcpu({ memory, ramBytes: RAM_BYTES, host, cpuid });
  const guest = new Guest(
    { vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES) },
    host,
    'kernel64',
    CODE,
  );
  guest.memory.writeU64(BEFORE, 0xaaaan);
  guest.memory.writeU64(AFTER, 0xbbbbn);
  guest.tables.map(BigInt(WINDOW), BEFORE, PTE.W | flags);
  guest.setControl('cr4', CR4.PGE, true);
  guest.setRegister('rax', BigInt(WINDOW));
  guest.setRegister('rbx', BigInt(guest.tables.entry(BigInt(WINDOW), 1)));
  guest.setRegister('rdx', BigInt(AFTER) | PTE.P | PTE.W | flags);
  guest.setRegister('rdi', guest.state.cr3);
  prepare(guest);
  guest.start();
  assert.equal(guest.run().kind, 'halted-forever');
  const { gpr } = vcpu.getState();
  assert.equal(gpr[1], 0xaaaan);
  return gpr[6]!;
}

test('a global page is still known behind a load of CR3', () => {
  assert.equal(readBehindSwitch(PTE.G), 0xaaaan);
});

test('another page is not', () => {
  assert.equal(readBehindSwitch(0n), 0xbbbbn);
});

test('with CR4.PGE clear no page is global', () => {
  const value = readBehindSwitch(PTE.G, (guest) => guest.setControl('cr4', CR4.PGE, false));
  assert.equal(value, 0xbbbbn);
});

test('a global page is known in an address space that does not map it', () => {
  const value = readBehindSwitch(PTE.G, (guest) => {
    const second = new PageTables(guest.memory, 0x1c_0000);
    for (let at = 0; at < 0x20_0000; at += 4096) second.map(BigInt(at), at, PTE.W);
    guest.setRegister('rdi', BigInt(second.root));
  });
  assert.equal(value, 0xaaaan);
});
