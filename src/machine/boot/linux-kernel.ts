// A Linux vmlinux in guest RAM, entered at startup_64 by the 64-bit boot protocol (Documentation/arch/x86/boot.rst).
// Both a bzImage's unpacked payload and a plain vmlinux come here; the kernel's own decompressor never runs.

import type { VcpuState } from '../../engine/vcpu-state.ts';
import type { BootModule, BootRequest, LoadedKernel } from './boot-request.ts';
import { alignUp, BootSpace, PAGE_BYTES, requireRam } from './boot-space.ts';
import { encodeCommandLine } from './command-line.ts';
import { claimSegments, type ElfFile, loadedSegments, physicalEntry, writeSegments } from './elf-file.ts';
import { GDT_BYTES, IDENTITY_MAP_BYTES, longModeState, writeIdentityMap } from './entry-state.ts';
import { BOOT_PARAMS_BYTES, buildBootParams, synthesizeSetupHeader } from './linux-boot-params.ts';
import {
  BOOT_PARAMS,
  COMMAND_LINE,
  COMMAND_LINE_MAX_BYTES,
  claimFirmwareAreas,
  GDT,
  PAGE_TABLES,
} from './low-memory.ts';

/** COMMAND_LINE_SIZE of x86 is 2048, its zero included. */
export const LINUX_COMMAND_LINE_MAX_BYTES = 2047;
/** The highest last byte of an initrd, where the kernel names none: what x86 kernels put in initrd_addr_max. */
export const LINUX_INITRD_ADDRESS_MAX = 0x7fffffff;
/** Archives of an initramfs that follow each other begin at multiples of this. */
const INITRAMFS_ALIGNMENT = 4;

export interface LinuxSetup {
  /** The bytes for boot_params from SETUP_HEADER on. */
  setupHeader: Uint8Array;
  commandLineMaxBytes: number;
  initrdAddressMax: number;
  /** How much RAM from its load address on the kernel uses before it knows the memory map. */
  initBytes: number;
}

/** Places kernel, initrds and the boot protocol's structures; returns the state at startup_64. */
export function loadLinuxKernel(request: BootRequest, elf: ElfFile, setup: LinuxSetup): VcpuState {
  const { memory, file } = request;
  const commandLine = encodeCommandLine(
    request.commandLine,
    Math.min(setup.commandLineMaxBytes, COMMAND_LINE_MAX_BYTES - 1),
    file.name,
  );
  const segments = loadedSegments(elf);
  const start = segments[0]!.guestPhysical;
  const last = segments.at(-1)!;
  const segmentsEnd = last.guestPhysical + last.memorySizeBytes;
  const kernelEnd = alignUp(Math.max(segmentsEnd, start + setup.initBytes), PAGE_BYTES);
  requireLinuxRam(request, kernelEnd);

  const space = new BootSpace(memory, file.name);
  claimFirmwareAreas(space);
  space.claim(GDT, GDT_BYTES, 'the GDT');
  space.claim(BOOT_PARAMS, BOOT_PARAMS_BYTES, 'the boot parameters');
  space.claim(PAGE_TABLES, IDENTITY_MAP_BYTES, 'the page tables');
  space.claim(COMMAND_LINE, commandLine.length, 'the command line');
  claimSegments(elf, space);
  space.claim(segmentsEnd, kernelEnd - segmentsEnd, "the kernel's working memory");
  const entryGuestPhysical = physicalEntry(elf);
  const initrdBytes = initramfsSizeBytes(request.modules);
  const initrdGuestPhysical =
    initrdBytes === 0
      ? 0
      : space.placeHigh(initrdBytes, PAGE_BYTES, kernelEnd, setup.initrdAddressMax + 1, 'an initrd');

  writeSegments(elf, space);
  memory.write(COMMAND_LINE, commandLine);
  writeInitramfs(request, initrdGuestPhysical);
  memory.write(
    BOOT_PARAMS,
    buildBootParams({
      setupHeader: setup.setupHeader,
      memoryMap: request.memoryMap,
      commandLineGuestPhysical: COMMAND_LINE,
      initrd: { guestPhysical: initrdGuestPhysical, sizeBytes: initrdBytes },
      rsdpGuestPhysical: request.rsdpGuestPhysical,
    }),
  );
  writeIdentityMap(memory, PAGE_TABLES);
  return longModeState(memory, {
    entryGuestPhysical,
    gdtGuestPhysical: GDT,
    pageTablesGuestPhysical: PAGE_TABLES,
    bootParamsGuestPhysical: BOOT_PARAMS,
  });
}

/** Throws UserError when RAM cannot hold a kernel that ends at `kernelEnd` and the initrds behind it. */
export function requireLinuxRam(request: BootRequest, kernelEnd: number): void {
  const initrdBytes = alignUp(initramfsSizeBytes(request.modules), PAGE_BYTES);
  const withInitrd = initrdBytes === 0 ? '' : ' with its initrd';
  requireRam(request.memory, `${request.file.name}${withInitrd}`, alignUp(kernelEnd, PAGE_BYTES) + initrdBytes);
}

/** A vmlinux that is a file by itself. */
export function loadLinuxElf(request: BootRequest, elf: ElfFile): LoadedKernel {
  const state = loadLinuxKernel(request, elf, {
    setupHeader: synthesizeSetupHeader(),
    commandLineMaxBytes: LINUX_COMMAND_LINE_MAX_BYTES,
    initrdAddressMax: LINUX_INITRD_ADDRESS_MAX,
    initBytes: 0,
  });
  return { state, format: 'linux-elf64', description: '64-bit ELF kernel, Linux 64-bit boot protocol' };
}

/** The size of all initrds as one initramfs: archives one after the other. */
export function initramfsSizeBytes(modules: readonly BootModule[]): number {
  return modules.reduce((total, { bytes }) => alignUp(total, INITRAMFS_ALIGNMENT) + bytes.length, 0);
}

/** Writes all initrds from `guestPhysical` on, as `initramfsSizeBytes` counts them. */
export function writeInitramfs(request: BootRequest, guestPhysical: number): void {
  let offset = 0;
  for (const { bytes } of request.modules) {
    const start = alignUp(offset, INITRAMFS_ALIGNMENT);
    request.memory.bytes(guestPhysical + offset, start - offset).fill(0);
    request.memory.write(guestPhysical + start, bytes);
    offset = start + bytes.length;
  }
}
