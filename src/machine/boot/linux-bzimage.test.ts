import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { assertRefused, boot, stringAt } from './testing/boot.ts';
import {
  appendSize,
  buildBzImage,
  buildElf,
  buildVmlinux,
  gzipPayload,
  pattern,
  ram,
  type TestBzImage,
} from './testing/kernel-builder.ts';

const MIB = 1024 * 1024;
const vmlinux = buildVmlinux();
const bzImage = (image: Partial<TestBzImage> = {}): Uint8Array =>
  buildBzImage({ payload: gzipPayload(vmlinux), ...image });
const BOOT_PARAMS = 0x7000;

describe('a bzImage', () => {
  it('puts the segments of its unpacked vmlinux at their physical addresses and clears what follows them', () => {
    const memory = ram(32);
    memory.bytes(0x1000000, MIB).fill(0xaa);
    const loaded = boot(bzImage(), { memory });
    assert.equal(loaded.format, 'linux-bzimage');
    assert.equal(loaded.description, 'Linux 6.1.0-test (bzImage, gzip)');
    assert.deepEqual(memory.bytes(0x1000000, 4096).slice(), pattern(4096, 1));
    assert.deepEqual(memory.bytes(0x1002000, 100).slice(), pattern(100, 2));
    assert.ok(memory.bytes(0x1002000 + 100, 4096 - 100).every((byte) => byte === 0));
  });

  it('is entered in long mode at startup_64 with rsi at boot_params', () => {
    const { state } = boot(bzImage());
    assert.equal(state.rip, 0x1000040n);
    assert.equal(state.gpr[6], BigInt(BOOT_PARAMS));
    assert.equal(state.cr0 & 0x80000001n, 0x80000001n);
    assert.equal(state.cr4, 0x20n);
    assert.equal(state.efer, 0x500n);
    assert.equal(state.rflags, 2n);
    assert.deepEqual(state.segments.cs, { selector: 0x10, base: 0n, limit: 0xffffffff, attributes: 0xa09b });
    for (const name of ['ds', 'es', 'ss'] as const) {
      assert.deepEqual(state.segments[name], { selector: 0x18, base: 0n, limit: 0xffffffff, attributes: 0xc093 });
    }
  });

  it('has a GDT whose descriptors say what the segment registers hold', () => {
    const { state, memory } = boot(bzImage());
    const gdt = Number(state.gdtr.base);
    assert.equal(state.gdtr.limit, 47);
    assert.equal(memory.readU64(gdt), 0n);
    assert.equal(memory.readU64(gdt + 0x10), 0x00af9b000000ffffn);
    assert.equal(memory.readU64(gdt + 0x18), 0x00cf93000000ffffn);
    assert.equal(memory.readU64(gdt + 0x20), 0x00008b0000000067n);
  });

  it('runs over page tables that map 4 GiB to themselves in pages of 2 MiB', () => {
    const { state, memory } = boot(bzImage());
    const table = (entry: bigint): number => Number(entry & ~0xfffn);
    for (const address of [0, 0x1000040, 0x7fe00000, 0xc0000000, 0xfee00000, 0xffffffff]) {
      const pml4e = memory.readU64(Number(state.cr3));
      const pdpte = memory.readU64(table(pml4e) + (address >>> 30) * 8);
      const pde = memory.readU64(table(pdpte) + ((address >>> 21) & 511) * 8);
      assert.deepEqual([pml4e & 0xfffn, pdpte & 0xfffn, pde & 0xfffn], [3n, 3n, 0x83n]);
      assert.equal(table(pde), address - (address % (2 * MIB)));
    }
    assert.equal(memory.readU64(Number(state.cr3) + 8), 0n);
  });

  it('fills boot_params: header copied, loader, command line, ACPI root pointer, no KASLR', () => {
    const file = bzImage();
    const { memory } = boot(file, { commandLine: 'console=ttyS0 naïve', rsdpGuestPhysical: 0xe0010 });
    assert.equal(memory.readU16(BOOT_PARAMS + 0x1fe), 0xaa55);
    assert.equal(memory.readU32(BOOT_PARAMS + 0x202), 0x53726448);
    assert.equal(memory.readU16(BOOT_PARAMS + 0x206), 0x20f);
    assert.deepEqual(memory.bytes(BOOT_PARAMS + 0x22c, 0x40).slice(), file.slice(0x22c, 0x26c));
    assert.equal(memory.readU8(BOOT_PARAMS + 0x210), 0xff);
    assert.equal(memory.readU8(BOOT_PARAMS + 0x211), 0x01);
    assert.equal(memory.readU16(BOOT_PARAMS + 0x1fa), 0xffff);
    assert.equal(memory.readU8(BOOT_PARAMS + 0x1ef), 0);
    assert.equal(memory.readU64(BOOT_PARAMS + 0x250), 0n);
    assert.equal(memory.readU64(BOOT_PARAMS + 0x070), 0xe0010n);
    assert.equal(stringAt(memory, memory.readU32(BOOT_PARAMS + 0x228)), 'console=ttyS0 naïve');
    assert.equal(memory.readU32(BOOT_PARAMS + 0x218), 0);
    assert.equal(memory.readU32(BOOT_PARAMS + 0x21c), 0);
  });

  it('clears what the zero page held before', () => {
    const memory = ram(32);
    memory.bytes(BOOT_PARAMS, 4096).fill(0xee);
    boot(bzImage(), { memory });
    assert.ok(memory.bytes(BOOT_PARAMS, 0x70).every((byte) => byte === 0));
    assert.ok(memory.bytes(BOOT_PARAMS + 0xcd0, 4096 - 0xcd0).every((byte) => byte === 0));
  });

  it('hands over a memory map with the area of EBDA and firmware reserved', () => {
    const reservedRanges = [{ guestPhysical: 0xe0000000, sizeBytes: 0x10000000 }];
    const { memory } = boot(bzImage(), { reservedRanges });
    const entries = Array.from({ length: memory.readU8(BOOT_PARAMS + 0x1e8) }, (_, index) => {
      const entry = BOOT_PARAMS + 0x2d0 + index * 20;
      return [Number(memory.readU64(entry)), Number(memory.readU64(entry + 8)), memory.readU32(entry + 16)];
    });
    assert.deepEqual(entries, [
      [0, 0x9fc00, 1],
      [0x9fc00, 0x400, 2],
      [0xe0000, 0x20000, 2],
      [0x100000, 31 * MIB, 1],
      [0xe0000000, 0x10000000, 2],
    ]);
  });

  it('says in the BIOS data area where the EBDA is', () => {
    const { memory } = boot(bzImage());
    assert.equal(memory.readU16(0x40e), 0x9fc0);
    assert.equal(memory.readU16(0x413), 639);
  });

  it('puts its initrd at the end of RAM, on a page', () => {
    const bytes = pattern(5000, 3);
    const { memory } = boot(bzImage(), { initrds: [{ bytes }] });
    const start = memory.readU32(BOOT_PARAMS + 0x218);
    assert.equal(start, 32 * MIB - 8192);
    assert.equal(memory.readU32(BOOT_PARAMS + 0x21c), 5000);
    assert.deepEqual(memory.bytes(start, 5000).slice(), bytes);
  });

  it('keeps its initrd below initrd_addr_max', () => {
    const { memory } = boot(bzImage({ initrdAddressMax: 0x17fffff }), { initrds: [{ bytes: pattern(5000, 3) }] });
    assert.equal(memory.readU32(BOOT_PARAMS + 0x218), 0x1800000 - 8192);
  });

  it('joins several initrds into one initramfs whose parts begin at multiples of 4', () => {
    const parts = [pattern(5, 1), pattern(8, 2), pattern(3, 3)];
    const memory = ram(32);
    memory.bytes(0, 32 * MIB).fill(0xaa);
    boot(bzImage(), { memory, initrds: parts.map((bytes) => ({ bytes })) });
    assert.equal(memory.readU32(BOOT_PARAMS + 0x21c), 19);
    const joined = [...parts[0]!, 0, 0, 0, ...parts[1]!, ...parts[2]!];
    assert.deepEqual([...memory.bytes(memory.readU32(BOOT_PARAMS + 0x218), 19)], joined);
  });

  it('unpacks zstd and takes a payload that is not compressed', () => {
    const zstd = bzImage({ payload: appendSize(zstdCompressSync(vmlinux), vmlinux.length) });
    assert.equal(boot(zstd).description, 'Linux 6.1.0-test (bzImage, zstd)');
    const plain = boot(bzImage({ payload: vmlinux }));
    assert.equal(plain.description, 'Linux 6.1.0-test (bzImage, uncompressed)');
    assert.equal(plain.state.rip, 0x1000040n);
  });

  describe('is refused when', () => {
    const magic = (...bytes: number[]): Uint8Array => appendSize(Uint8Array.from([...bytes, ...pattern(64, 1)]), 4096);
    const cases: { name: string; file: Uint8Array; message: RegExp }[] = [
      { name: 'its boot protocol is too old', file: bzImage({ version: 0x20a }), message: /protocol 2\.10.*2\.12/ },
      { name: 'it is a zImage', file: bzImage({ loadflags: 0 }), message: /zImage/ },
      { name: 'it is 32-bit', file: bzImage({ xloadflags: 0 }), message: /32-bit Linux bzImage/ },
      { name: 'its header is cut short', file: bzImage().subarray(0, 0x240), message: /lies outside the file/ },
      { name: 'its header ends early', file: bzImage({ headerEnd: 0x250 }), message: /header ends at 0x250/ },
      { name: 'its header ends late', file: bzImage({ headerEnd: 0x2a0 }), message: /header ends at 0x2a0/ },
      { name: 'it has no payload', file: bzImage({ payloadLength: 0 }), message: /no payload/ },
      {
        name: 'its payload is past the end',
        file: bzImage({ payloadOffset: 0xfffffff0 }),
        message: /payload lies outside/,
      },
      { name: 'its payload is cut short', file: bzImage().subarray(0, -20), message: /payload lies outside/ },
      { name: 'its payload is bzip2', file: bzImage({ payload: magic(0x42, 0x5a, 0x68) }), message: /bzip2.*gzip, xz/ },
      {
        name: 'its payload is lzo',
        file: bzImage({ payload: magic(0x89, 0x4c, 0x5a, 0x4f) }),
        message: /lzo.*lz4, zstd/,
      },
      { name: 'its payload is unknown', file: bzImage({ payload: pattern(99, 9) }), message: /unknown format/ },
      {
        name: 'its payload lies',
        file: bzImage({ payload: magic(0x1f, 0x8b) }),
        message: /gzip payload does not unpack/,
      },
      {
        name: 'its payload announces an absurd size',
        file: bzImage({ payload: appendSize(zstdCompressSync(vmlinux), 0xffffffff) }),
        message: /announces 4294967295 bytes, more than the init_size/,
      },
      {
        name: 'its payload is no ELF file',
        file: bzImage({ payload: gzipPayload(pattern(4096, 1)) }),
        message: /payload is no ELF kernel/,
      },
      {
        name: 'its payload is a 32-bit ELF file',
        file: bzImage({ payload: gzipPayload(buildElf({ is64Bit: false, segments: [{ bytes: pattern(9, 1) }] })) }),
        message: /payload is a 32-bit kernel/,
      },
      { name: 'its init_size is absurd', file: bzImage({ initSize: 0xffffffff }), message: /at most 3072 MiB/ },
      { name: 'its pref_address is absurd', file: bzImage({ prefAddress: 1n << 63n }), message: /at most 3072 MiB/ },
    ];
    for (const { name, file, message } of cases) it(name, () => assertRefused(file, message));

    it('RAM is too small: the message says how much is needed', () => {
      const file = bzImage({ initSize: 50 * MIB });
      assertRefused(file, /needs at least 66 MiB .* this machine has 32 MiB/);
      const options = { memory: ram(66), initrds: [{ bytes: new Uint8Array(3 * MIB) }] };
      assertRefused(file, /with its initrd needs at least 69 MiB .* has 66 MiB/, options);
    });

    it('its initrd does not fit below initrd_addr_max', () => {
      const file = bzImage({ initrdAddressMax: 0x10fffff, initSize: MIB });
      assertRefused(file, /an initrd of 2 MiB does not fit/, { initrds: [{ bytes: new Uint8Array(2 * MIB) }] });
    });

    it('the command line is longer than cmdline_size', () => {
      const file = bzImage({ cmdlineSize: 20 });
      boot(file, { commandLine: 'x'.repeat(20) });
      assertRefused(file, /21 bytes long, and the kernel takes at most 20/, { commandLine: 'x'.repeat(21) });
      assertRefused(bzImage({ cmdlineSize: 0xffffffff }), /at most 65535/, { commandLine: 'x'.repeat(65536) });
    });

    it('the command line holds a zero', () => assertRefused(bzImage(), /zero byte/, { commandLine: 'a\0b' }));

    it('a segment of its vmlinux covers the boot structures', () => {
      const low = buildElf({ segments: [{ guestPhysical: 0x7800, bytes: pattern(64, 1) }] });
      assertRefused(bzImage({ payload: gzipPayload(low) }), /segment of the kernel .* overlaps the boot parameters/);
    });
  });

  it('is refused or booted, and nothing else, with any byte of its header changed', () => {
    const file = bzImage();
    const memory = ram(32);
    for (let index = 0x1f1; index < 0x26c; index++) {
      for (const value of [0x00, 0x7f, 0xff]) {
        const changed = file.with(index, value);
        try {
          boot(changed, { memory });
        } catch (error) {
          assert.equal((error as Error).name, 'UserError', `byte 0x${index.toString(16)}: ${error}`);
        }
      }
    }
  });
});
