// Direct boot: tells what kind of kernel a file is, places it and all that its protocol wants in guest RAM, and gives
// the first processor's state at the entry point. The memory map is in low-memory.ts and memory-map.ts.

import { UserError } from '../../base/errors.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { BootModule, BootRequest, LoadedKernel } from './boot-request.ts';
import { requireRam } from './boot-space.ts';
import type { Decompressor } from './decompression/decompressor.ts';
import { ELF_TYPE, type ElfFile, isElf, parseElf, SEGMENT_TYPE } from './elf-file.ts';
import { KernelFile } from './kernel-file.ts';
import { isBzImage, loadBzImage } from './linux-bzimage.ts';
import { loadLinuxElf } from './linux-kernel.ts';
import { buildMemoryMap, HIGH_MEMORY_GUEST_PHYSICAL, type MemoryRange } from './memory-map.ts';
import { findMultibootHeader, loadMultiboot1 } from './multiboot1.ts';
import { loadPvh, readPvhNotes } from './pvh.ts';

export interface LoadKernelOptions {
  memory: GuestMemory;
  kernel: Uint8Array;
  /** What messages call the kernel, such as its path. */
  kernelName?: string;
  /** Linux: initrds, which become one initramfs in this order. PVH and Multiboot: modules. */
  initrds: readonly BootModule[];
  commandLine: string;
  /** Where the ACPI root pointer is, for a machine with ACPI; Multiboot 1 kernels search for it themselves. */
  rsdpGuestPhysical?: number;
  /** Ranges above RAM that the kernel must not hand out, such as the PCI Express configuration window. */
  reservedRanges?: readonly Omit<MemoryRange, 'type'>[];
  decompressor: Decompressor;
}

/**
 * Loads a Linux bzImage, an ELF kernel or a Multiboot 1 image. An image that speaks several protocols is booted by
 * Multiboot 1, else PVH, else Linux' 64-bit protocol. RAM that is not written keeps its contents. Throws UserError for
 * a file that is none of them, is damaged, or does not fit into this machine; RAM may then be partly written.
 */
export function loadKernel(options: LoadKernelOptions): LoadedKernel {
  const { memory } = options;
  const file = new KernelFile(options.kernelName ?? 'the kernel', options.kernel);
  requireRam(memory, file.name, HIGH_MEMORY_GUEST_PHYSICAL);
  const request: BootRequest = {
    memory,
    file,
    modules: options.initrds,
    commandLine: options.commandLine,
    rsdpGuestPhysical: options.rsdpGuestPhysical,
    memoryMap: buildMemoryMap(memory.sizeBytes, options.reservedRanges ?? []),
    decompressor: options.decompressor,
  };
  if (isBzImage(file)) return loadBzImage(request);
  const multiboot = findMultibootHeader(file);
  if (multiboot !== undefined) return loadMultiboot1(request, multiboot);
  if (isElf(file.bytes)) return loadElf(request, parseElf(file));
  throw notAKernel(file);
}

function loadElf(request: BootRequest, elf: ElfFile): LoadedKernel {
  const notes = readPvhNotes(elf);
  if (notes !== undefined) return loadPvh(request, elf, notes);
  const { file } = request;
  const isProgram = elf.segments.some(({ type }) => type === SEGMENT_TYPE.INTERP || type === SEGMENT_TYPE.TLS);
  if (isProgram || elf.type !== ELF_TYPE.EXEC) throw notAKernel(file, 'it is an ELF program or library');
  if (!elf.is64Bit) throw notAKernel(file, 'it is a 32-bit ELF file without a PVH note or a Multiboot 1 header');
  return loadLinuxElf(request, elf);
}

function notAKernel(file: KernelFile, finding?: string): UserError {
  return new UserError(
    `${file.name} is not a kernel that Bulkhead can boot: ` +
      'expected a Linux bzImage, an ELF kernel or a Multiboot 1 image',
    finding === undefined ? {} : { hint: finding },
  );
}
