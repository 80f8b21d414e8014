// What goes into a boot loader and what comes out of it, the same for every kind of kernel.

import type { VcpuState } from '../../engine/vcpu-state.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { Decompressor } from './decompression/decompressor.ts';
import type { KernelFile } from './kernel-file.ts';
import type { MemoryRange } from './memory-map.ts';

/** An initrd of Linux, or a module of PVH and Multiboot with its own command line. */
export interface BootModule {
  bytes: Uint8Array;
  commandLine?: string;
}

export interface BootRequest {
  memory: GuestMemory;
  file: KernelFile;
  modules: readonly BootModule[];
  commandLine: string;
  /** Where src/machine puts the ACPI root pointer; undefined for a machine without ACPI. */
  rsdpGuestPhysical: number | undefined;
  memoryMap: readonly MemoryRange[];
  decompressor: Decompressor;
}

export const KERNEL_FORMATS = ['linux-bzimage', 'linux-elf64', 'pvh', 'multiboot1'] as const;
export type KernelFormat = (typeof KERNEL_FORMATS)[number];

export interface LoadedKernel {
  /** The first processor as the kernel expects it at its entry point. */
  state: VcpuState;
  format: KernelFormat;
  /** One line for people: which kernel, in which packing. */
  description: string;
}
