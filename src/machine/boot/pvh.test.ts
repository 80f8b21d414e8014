import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { assertRefused, boot, stringAt } from './testing/boot.ts';
import { buildPvhElf, pattern, ram } from './testing/kernel-builder.ts';

const MIB = 1024 * 1024;
const text = pattern(4096, 1);
const kernel = (options: { is64Bit?: boolean; isLinux?: boolean; entry?: bigint; guestPhysical?: number } = {}) =>
  buildPvhElf({ guestPhysical: 0x100000, text, entry: 0x100010n, ...options });

function startInfo(memory: GuestMemory, guestPhysical: number) {
  const u32 = (offset: number) => memory.readU32(guestPhysical + offset);
  const u64 = (offset: number) => Number(memory.readU64(guestPhysical + offset));
  const table = <T>(start: number, count: number, entryBytes: number, read: (entry: number) => T): T[] =>
    Array.from({ length: count }, (_, index) => read(start + index * entryBytes));
  return {
    magic: u32(0),
    version: u32(4),
    flags: u32(8),
    commandLine: stringAt(memory, u64(24)),
    rsdp: u64(32),
    modules: table(u64(16), u32(12), 32, (entry) => ({
      start: Number(memory.readU64(entry)),
      sizeBytes: Number(memory.readU64(entry + 8)),
      commandLine: Number(memory.readU64(entry + 16)),
    })),
    memoryMap: table(u64(40), u32(48), 24, (entry) => [
      Number(memory.readU64(entry)),
      Number(memory.readU64(entry + 8)),
      memory.readU32(entry + 16),
    ]),
  };
}

describe('an ELF kernel with a PVH note', () => {
  for (const is64Bit of [true, false]) {
    it(`is entered in 32-bit protected mode without paging (${is64Bit ? 64 : 32}-bit ELF)`, () => {
      const { state, format, memory } = boot(kernel({ is64Bit }));
      assert.equal(format, 'pvh');
      assert.equal(state.rip, 0x100010n);
      assert.equal(state.cr0, 0x11n);
      assert.equal(state.cr4, 0n);
      assert.equal(state.efer, 0n);
      assert.equal(state.rflags, 2n);
      assert.equal(state.segments.cs.attributes, 0xc09b);
      assert.equal(state.segments.ds.attributes, 0xc093);
      assert.deepEqual([state.segments.tr.attributes, state.segments.tr.limit], [0x8b, 0x67]);
      assert.equal(memory.readU64(Number(state.gdtr.base) + state.segments.cs.selector), 0x00cf9b000000ffffn);
      assert.deepEqual(memory.bytes(0x100000, 4096).slice(), text);
    });
  }

  it('finds hvm_start_info by ebx', () => {
    const { state, memory } = boot(kernel(), { commandLine: 'a=b c', rsdpGuestPhysical: 0xe0000 });
    const info = startInfo(memory, Number(state.gpr[3]));
    assert.deepEqual(info, {
      magic: 0x336ec578,
      version: 1,
      flags: 0,
      commandLine: 'a=b c',
      rsdp: 0xe0000,
      modules: [],
      memoryMap: [
        [0, 0x9fc00, 1],
        [0x9fc00, 0x400, 2],
        [0xe0000, 0x20000, 2],
        [0x100000, 31 * MIB, 1],
      ],
    });
  });

  it('gets each module on pages behind the kernel, with its own command line', () => {
    const initrds = [{ bytes: pattern(5000, 1), commandLine: 'first' }, { bytes: pattern(10, 2) }];
    const { state, memory } = boot(kernel(), { initrds });
    const { modules } = startInfo(memory, Number(state.gpr[3]));
    assert.deepEqual(
      modules.map(({ start, sizeBytes }) => [start, sizeBytes]),
      [
        [0x102000, 5000],
        [0x104000, 10],
      ],
    );
    assert.equal(stringAt(memory, modules[0]!.commandLine), 'first');
    assert.equal(modules[1]!.commandLine, 0);
    for (const [index, { start, sizeBytes }] of modules.entries()) {
      assert.deepEqual(memory.bytes(start, sizeBytes).slice(), initrds[index]!.bytes);
    }
  });

  it('gets one initramfs at the end of RAM when it is Linux', () => {
    const initrds = [{ bytes: pattern(5, 1) }, { bytes: pattern(3, 2) }];
    const { state, memory, description } = boot(kernel({ isLinux: true }), { initrds });
    const { modules } = startInfo(memory, Number(state.gpr[3]));
    assert.deepEqual(modules, [{ start: 32 * MIB - 4096, sizeBytes: 11, commandLine: 0 }]);
    assert.equal(description, '64-bit Linux ELF kernel, PVH entry');
    assertRefused(kernel({ isLinux: true }), /at most 2047/, { commandLine: 'x'.repeat(2048) });
  });

  it('may lie where the boot structures usually do', () => {
    const { state, memory } = boot(kernel({ guestPhysical: 0x500, entry: 0x500n }), { commandLine: 'hello' });
    assert.deepEqual(memory.bytes(0x500, 4096).slice(), text);
    assert.equal(startInfo(memory, Number(state.gpr[3])).commandLine, 'hello');
    assert.ok(Number(state.gdtr.base) >= 0x500 + 4096 + 256);
  });

  it('is refused when its entry point is not in it, or needs 64 bits', () => {
    assertRefused(kernel({ entry: 0x90000n }), /PVH entry point 0x90000 lies in none/);
    assertRefused(kernel({ entry: 1n << 40n }), /names no 32-bit address/);
  });

  it('is refused when a segment covers the firmware area or the end of RAM', () => {
    assertRefused(kernel({ guestPhysical: 0xe0000, entry: 0xe0000n }), /overlaps the area of firmware below 1 MiB/);
    assertRefused(kernel({ guestPhysical: 64 * MIB, entry: 0x4000000n }), /needs at least 65 MiB/);
    assertRefused(kernel({ guestPhysical: 0xfff00000, entry: 0xfff00000n }), /beyond the 3 GiB/);
  });

  it('is refused when its modules do not fit', () => {
    const initrds = [{ bytes: new Uint8Array(20 * MIB) }, { bytes: new Uint8Array(20 * MIB) }];
    assertRefused(kernel(), /needs at least 42 MiB .* has 32 MiB/, { initrds });
    assertRefused(kernel({ isLinux: true }), /an initrd of 40 MiB needs at least 42 MiB/, { initrds, memory: ram(32) });
  });
});
