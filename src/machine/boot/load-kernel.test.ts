import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertRefused, boot } from './testing/boot.ts';
import { buildElf, buildNote, buildVmlinux, multibootHeader, pattern, ram } from './testing/kernel-builder.ts';

const MIB = 1024 * 1024;
const NOT_A_KERNEL =
  /^the kernel is not a kernel that Bulkhead can boot: expected a Linux bzImage, an ELF kernel or a Multiboot 1 image$/;
const text = { guestPhysical: 0x100000, bytes: pattern(64, 1) };

describe('loadKernel', () => {
  it('boots a vmlinux without a PVH note by the 64-bit protocol', () => {
    const { format, state, memory } = boot(buildVmlinux(), { commandLine: 'ro', initrds: [{ bytes: pattern(9, 1) }] });
    assert.equal(format, 'linux-elf64');
    assert.equal(state.rip, 0x1000040n);
    const bootParams = Number(state.gpr[6]);
    assert.equal(memory.readU16(bootParams + 0x1fe), 0xaa55);
    assert.equal(memory.readU32(bootParams + 0x202), 0x53726448);
    assert.equal(memory.readU8(bootParams + 0x210), 0xff);
    assert.equal(memory.readU32(bootParams + 0x218), 32 * MIB - 4096);
  });

  it('names the kernel as it was told to', () => {
    assertRefused(pattern(9, 1), /^vmlinuz-x is not a kernel/, { kernelName: 'vmlinuz-x' });
  });

  it('translates an entry point that is a virtual address', () => {
    const kernel = buildElf({ entry: 0xffffffff80100010n, segments: [{ ...text, guestVirtual: 0xffffffff80100000n }] });
    assert.equal(boot(kernel).state.rip, 0x100010n);
  });

  it('ignores empty segments', () => {
    const empty = { guestPhysical: 0xffffffff0, bytes: new Uint8Array(0), memorySizeBytes: 0 };
    assert.equal(boot(buildElf({ segments: [text, empty] })).state.rip, 0x100000n);
  });

  it('takes a PVH note of another name, or another note of Xen, for no entry point', () => {
    const notes = Buffer.concat([buildNote('Xem', 18, pattern(4, 1)), buildNote('Xen', 17, pattern(4, 1))]);
    assert.equal(boot(buildElf({ segments: [text, { type: 4, bytes: notes }] })).format, 'linux-elf64');
  });

  const notKernels: { name: string; file: Uint8Array }[] = [
    { name: 'an empty file', file: new Uint8Array(0) },
    { name: 'text', file: new TextEncoder().encode('#!/bin/sh\necho hello\n'.repeat(99)) },
    { name: 'a boot sector without a setup header', file: new Uint8Array(4096).with(0x1fe, 0x55).with(0x1ff, 0xaa) },
    { name: 'a Multiboot header cut short', file: multibootHeader(3).subarray(0, 11) },
    { name: 'a program', file: buildElf({ segments: [text, { type: 3, bytes: pattern(9, 1) }] }) },
    { name: 'a static program', file: buildElf({ segments: [text, { type: 7, bytes: pattern(9, 1) }] }) },
    { name: 'a shared library', file: buildElf({ type: 3, segments: [text] }) },
    { name: 'a 32-bit ELF file that says nothing of PVH', file: buildElf({ is64Bit: false, segments: [text] }) },
  ];
  for (const { name, file } of notKernels) it(`refuses ${name}`, () => assertRefused(file, NOT_A_KERNEL));

  const note = (bytes: Uint8Array): Uint8Array => buildElf({ segments: [text, { type: 4, bytes }] });
  const damaged: { name: string; file: Uint8Array; message: RegExp }[] = [
    { name: 'an ELF header cut short', file: buildVmlinux().subarray(0, 40), message: /ELF header lies outside/ },
    { name: 'program headers cut short', file: buildVmlinux().subarray(0, 100), message: /program header table lies/ },
    { name: 'segments cut short', file: buildVmlinux().subarray(0, 2000), message: /ELF segment lies outside/ },
    { name: 'an ELF file without segments', file: buildElf({}), message: /no ELF program headers/ },
    {
      name: 'an ELF file that loads nothing',
      file: buildElf({ segments: [{ ...text, type: 6 }] }),
      message: /no ELF segment/,
    },
    { name: 'an object file', file: buildElf({ type: 1, segments: [text] }), message: /not an executable one/ },
    { name: 'another machine', file: buildElf({ machine: 183, segments: [text] }), message: /ELF machine is 183/ },
    { name: 'big-endian ELF', file: buildElf({ segments: [text] }).with(5, 2), message: /not a kernel for x86/ },
    { name: 'overlapping segments', file: buildElf({ segments: [text, text] }), message: /segments overlap/ },
    {
      name: 'a segment larger in the file than in memory',
      file: buildElf({ segments: [{ ...text, memorySizeBytes: 8 }] }),
      message: /larger in the file/,
    },
    {
      name: 'an absurd segment size',
      file: buildElf({ segments: [{ ...text, memorySizeBytes: 2 ** 60 }] }),
      message: /at most 3072 MiB/,
    },
    {
      name: 'an absurd address',
      file: buildElf({ segments: [{ ...text, guestPhysical: 2 ** 52 }] }),
      message: /at most 3072 MiB/,
    },
    {
      name: 'too many segments',
      file: buildElf({ segments: Array.from({ length: 129 }, () => text) }),
      message: /129 ELF segments/,
    },
    {
      name: 'an entry point in no segment',
      file: buildElf({ entry: 0x50n, segments: [text] }),
      message: /0x50 lies in none/,
    },
    {
      name: 'a note cut short',
      file: note(buildNote('Xen', 18, pattern(4, 1)).subarray(0, 16)),
      message: /ELF note lies/,
    },
    { name: 'a PVH note of 2 bytes', file: note(buildNote('Xen', 18, pattern(2, 1))), message: /no 32-bit address/ },
    { name: 'endless notes', file: note(new Uint8Array(12 * 5000)), message: /too many ELF notes/ },
  ];
  for (const { name, file, message } of damaged) it(`refuses ${name}`, () => assertRefused(file, message));

  it('refuses a machine without memory above 1 MiB', () => {
    const memory = ram(1);
    assertRefused(buildVmlinux(), /needs at least 17 MiB .* has 1 MiB/, { memory });
  });

  it('refuses or boots, and nothing else, an ELF kernel with any byte of its headers changed', () => {
    const file = buildVmlinux();
    const memory = ram(32);
    for (let index = 4; index < 176; index++) {
      for (const value of [0x00, 0x7f, 0xff]) {
        try {
          boot(file.with(index, value), { memory });
        } catch (error) {
          assert.equal((error as Error).name, 'UserError', `byte ${index}: ${(error as Error).stack}`);
        }
      }
    }
  });
});
