import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { assertRefused, boot, stringAt } from './testing/boot.ts';
import { buildElf, multibootHeader, pattern, ram } from './testing/kernel-builder.ts';

const MIB = 1024 * 1024;
const FLAGS = 3;

/** An ELF kernel whose segment begins with the header. */
function elfKernel(options: { is64Bit?: boolean; flags?: number; symbols?: Uint8Array } = {}): Uint8Array {
  const sections = [
    { type: 1, flags: 2, guestVirtual: 0xc0100000, bytes: pattern(4, 5) },
    { type: 2, flags: 0, guestVirtual: 0, bytes: options.symbols ?? new Uint8Array(0) },
  ];
  return buildElf({
    is64Bit: options.is64Bit ?? false,
    entry: 0xc010000cn,
    segments: [
      {
        guestPhysical: 0x100000,
        guestVirtual: 0xc0100000n,
        bytes: Buffer.concat([multibootHeader(options.flags ?? FLAGS), pattern(4084, 1)]),
        memorySizeBytes: 8192,
      },
    ],
    sections: options.symbols === undefined ? [] : sections,
  });
}

/** A flat image: 8 bytes, the header with its address fields, text. */
function flatKernel(addresses: Partial<Record<'header' | 'load' | 'loadEnd' | 'bssEnd' | 'entry', number>> = {}) {
  const fields = {
    header: 0x200008,
    load: 0x200000,
    loadEnd: 0x200400,
    bssEnd: 0x202000,
    entry: 0x200040,
    ...addresses,
  };
  const header = multibootHeader(FLAGS | (1 << 16), Object.values(fields));
  return Buffer.concat([pattern(8, 3), header, pattern(0x1000 - 8 - header.length, 4)]);
}

function information(memory: GuestMemory, guestPhysical: number) {
  const u32 = (offset: number) => memory.readU32(guestPhysical + offset);
  const memoryMap: number[][] = [];
  for (let entry = u32(48); entry < u32(48) + u32(44); entry += memory.readU32(entry) + 4) {
    memoryMap.push([Number(memory.readU64(entry + 4)), Number(memory.readU64(entry + 12)), memory.readU32(entry + 20)]);
  }
  return {
    flags: u32(0),
    memLower: u32(4),
    memUpper: u32(8),
    commandLine: stringAt(memory, u32(16)),
    modules: Array.from({ length: u32(20) }, (_, index) => {
      const entry = u32(24) + index * 16;
      const [start, end, string] = [0, 4, 8].map((offset) => memory.readU32(entry + offset)) as [
        number,
        number,
        number,
      ];
      return { start, end, string: stringAt(memory, string), reserved: memory.readU32(entry + 12) };
    }),
    sections: { count: u32(28), entryBytes: u32(32), table: u32(36), nameIndex: u32(40) },
    memoryMap,
    bootLoaderName: stringAt(memory, u32(64)),
  };
}

describe('a Multiboot 1 image', () => {
  it('is entered in 32-bit protected mode with the magic in eax', () => {
    const { state, format, memory } = boot(elfKernel());
    assert.equal(format, 'multiboot1');
    assert.equal(state.gpr[0], 0x2badb002n);
    assert.equal(state.cr0, 0x11n);
    assert.equal(state.rflags, 2n);
    assert.deepEqual(state.segments.cs, { selector: 0x10, base: 0n, limit: 0xffffffff, attributes: 0xc09b });
    for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) {
      assert.deepEqual(state.segments[name], { selector: 0x18, base: 0n, limit: 0xffffffff, attributes: 0xc093 });
    }
    assert.equal(memory.readU64(Number(state.gdtr.base) + 0x18), 0x00cf93000000ffffn);
  });

  for (const is64Bit of [false, true]) {
    it(`loads as ELF (${is64Bit ? 64 : 32}-bit), a virtual entry point translated by its segment`, () => {
      const memory = ram(32);
      memory.bytes(0x100000, 8192).fill(0xaa);
      const { state } = boot(elfKernel({ is64Bit }), { memory });
      assert.equal(state.rip, 0x10000cn);
      assert.equal(memory.readU32(0x100000), 0x1badb002);
      assert.deepEqual(memory.bytes(0x10000c, 4084).slice(), pattern(4084, 1));
      assert.ok(memory.bytes(0x101000, 4096).every((byte) => byte === 0));
    });
  }

  it('loads by the addresses in its header', () => {
    const memory = ram(32);
    memory.bytes(0x200000, 0x3000).fill(0xaa);
    const file = flatKernel();
    const { state, description } = boot(file, { memory });
    assert.equal(state.rip, 0x200040n);
    assert.equal(description, 'Multiboot 1 kernel (flat)');
    assert.deepEqual(memory.bytes(0x200000, 0x400).slice(), Uint8Array.from(file.subarray(0, 0x400)));
    assert.ok(memory.bytes(0x200400, 0x1c00).every((byte) => byte === 0));
    assert.equal(memory.readU8(0x202000), 0xaa);
  });

  it('loads to the end of the file where load_end_addr is 0, without bss where bss_end_addr is 0', () => {
    const memory = ram(32);
    memory.bytes(0x200000, 0x3000).fill(0xaa);
    const file = flatKernel({ loadEnd: 0, bssEnd: 0 });
    boot(file, { memory });
    assert.deepEqual(memory.bytes(0x200000, file.length).slice(), Uint8Array.from(file));
    assert.equal(memory.readU8(0x200000 + file.length), 0xaa);
  });

  it('finds its information structure by ebx', () => {
    const { state, memory } = boot(elfKernel(), { commandLine: 'quiet x=1' });
    const { sections: _, ...info } = information(memory, Number(state.gpr[3]));
    assert.deepEqual(info, {
      flags: 0x24d,
      memLower: 639,
      memUpper: 31 * 1024,
      commandLine: 'quiet x=1',
      modules: [],
      memoryMap: [
        [0, 0x9fc00, 1],
        [0x9fc00, 0x400, 2],
        [0xe0000, 0x20000, 2],
        [0x100000, 31 * MIB, 1],
      ],
      bootLoaderName: 'Bulkhead',
    });
  });

  it('gets its modules on pages behind its bss, with their strings', () => {
    const initrds = [{ bytes: pattern(5000, 1), commandLine: 'disk.img ro' }, { bytes: pattern(10, 2) }];
    const { state, memory } = boot(elfKernel(), { initrds });
    const { modules } = information(memory, Number(state.gpr[3]));
    assert.deepEqual(modules, [
      { start: 0x102000, end: 0x102000 + 5000, string: 'disk.img ro', reserved: 0 },
      { start: 0x104000, end: 0x104000 + 10, string: '', reserved: 0 },
    ]);
    assert.deepEqual(memory.bytes(0x102000, 5000).slice(), initrds[0]!.bytes);
    assert.deepEqual(memory.bytes(0x104000, 10).slice(), initrds[1]!.bytes);
  });

  for (const is64Bit of [false, true]) {
    it(`gets its section headers, and the symbols that they describe in memory (${is64Bit ? 64 : 32}-bit)`, () => {
      const symbols = pattern(300, 8);
      const { state, memory } = boot(elfKernel({ symbols, is64Bit }));
      const { flags, sections } = information(memory, Number(state.gpr[3]));
      const entryBytes = is64Bit ? 64 : 40;
      assert.equal(flags & 0x20, 0x20);
      assert.deepEqual({ ...sections, table: 0 }, { count: 3, entryBytes, table: 0, nameIndex: 2 });
      assert.ok(sections.table >= 0x102000);
      const address = (index: number) => {
        const header = sections.table + index * entryBytes;
        return is64Bit ? Number(memory.readU64(header + 16)) : memory.readU32(header + 12);
      };
      assert.equal(address(1), 0xc0100000);
      assert.deepEqual(memory.bytes(address(2), 300).slice(), symbols);
    });
  }

  it('keeps its information clear of an image below 1 MiB', () => {
    const file = flatKernel({ header: 0x1008, load: 0x1000, loadEnd: 0, bssEnd: 0x30000, entry: 0x1040 });
    const { state, memory } = boot(file, { commandLine: 'low' });
    assert.ok(Number(state.gpr[3]) >= 0x30000);
    assert.equal(information(memory, Number(state.gpr[3])).commandLine, 'low');
    assert.deepEqual(memory.bytes(0x1000, file.length).slice(), Uint8Array.from(file));
  });

  it('is found at any multiple of 4 in the first 8 KiB, and not behind them', () => {
    const at = (offset: number): Uint8Array => {
      const addresses = [0x200000 + offset, 0x200000, 0, 0, 0x200000];
      return Buffer.concat([pattern(offset, 1), multibootHeader(1 << 16, addresses), pattern(64, 2)]);
    };
    assert.equal(boot(at(8180)).format, 'multiboot1');
    assertRefused(at(8192), /is not a kernel/);
    assertRefused(at(6), /is not a kernel/);
  });

  const broken: { name: string; file: Uint8Array; message: RegExp }[] = [
    { name: 'its checksum is wrong', file: flatKernel().fill(0, 16, 17), message: /is not a kernel/ },
    { name: 'it requires a video mode', file: elfKernel({ flags: 7 }), message: /requires a video mode/ },
    {
      name: 'it requires an unknown feature',
      file: elfKernel({ flags: 0x4000 }),
      message: /requires the features 0x4000/,
    },
    { name: 'it is neither ELF nor flat', file: multibootHeader(FLAGS), message: /neither an ELF file/ },
    { name: 'its address fields are cut short', file: flatKernel().subarray(0, 30), message: /lies outside the file/ },
    { name: 'it loads above its header', file: flatKernel({ load: 0x200100 }), message: /does not agree/ },
    { name: 'it begins before the file', file: flatKernel({ load: 0x1f0000 }), message: /does not agree/ },
    { name: 'its text ends behind the file', file: flatKernel({ loadEnd: 0x300000 }), message: /outside the file/ },
    { name: 'its text ends before it begins', file: flatKernel({ loadEnd: 0x100000 }), message: /outside the file/ },
    { name: 'its bss ends before its text', file: flatKernel({ bssEnd: 0x200100 }), message: /bss ends before/ },
    { name: 'its bss is absurd', file: flatKernel({ bssEnd: 0xffffffff }), message: /beyond the 3 GiB/ },
    { name: 'its bss is larger than RAM', file: flatKernel({ bssEnd: 0x4000000 }), message: /needs at least 64 MiB/ },
    { name: 'its entry point is outside', file: flatKernel({ entry: 0x300000 }), message: /entry point 0x300000/ },
  ];
  for (const { name, file, message } of broken) it(`is refused when ${name}`, () => assertRefused(file, message));
});
