// PVH boot (Xen's docs/misc/pvh.pandoc, struct hvm_start_info version 1): an ELF kernel whose Xen note names a 32-bit
// entry point; ebx = hvm_start_info with memory map, modules, command line and ACPI root pointer.

import type { BootRequest, LoadedKernel } from './boot-request.ts';
import { BootSpace, PAGE_BYTES } from './boot-space.ts';
import { encodeCommandLine } from './command-line.ts';
import { claimSegments, type ElfFile, type ElfNote, liesInSegments, readNotes, writeSegments } from './elf-file.ts';
import { GDT_BYTES, protectedModeState } from './entry-state.ts';
import {
  initramfsSizeBytes,
  LINUX_COMMAND_LINE_MAX_BYTES,
  LINUX_INITRD_ADDRESS_MAX,
  writeInitramfs,
} from './linux-kernel.ts';
import { BOOT_INFORMATION, COMMAND_LINE, COMMAND_LINE_MAX_BYTES, claimFirmwareAreas, GDT } from './low-memory.ts';
import { type PlacedModule, placeModules } from './modules.ts';

const XEN_ELFNOTE_GUEST_OS = 6;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
const START_INFO = {
  magic: 0,
  version: 4,
  flags: 8,
  nr_modules: 12,
  modlist_paddr: 16,
  cmdline_paddr: 24,
  rsdp_paddr: 32,
  memmap_paddr: 40,
  memmap_entries: 48,
  sizeBytes: 56,
} as const;
const MODLIST_ENTRY = { paddr: 0, size: 8, cmdline_paddr: 16, sizeBytes: 32 } as const;
const MEMMAP_ENTRY = { addr: 0, size: 8, type: 16, sizeBytes: 24 } as const;

export interface PvhNotes {
  entryGuestPhysical: number;
  isLinux: boolean;
}

/** What the Xen notes say, or undefined when none of them names a PVH entry point. */
export function readPvhNotes(elf: ElfFile): PvhNotes | undefined {
  const notes = readNotes(elf).filter((note) => note.name === 'Xen');
  const entry = notes.find((note) => note.type === XEN_ELFNOTE_PHYS32_ENTRY);
  if (entry === undefined) return undefined;
  const guestOs = notes.find((note) => note.type === XEN_ELFNOTE_GUEST_OS);
  return {
    entryGuestPhysical: readEntry(elf, entry),
    isLinux: guestOs !== undefined && new TextDecoder('latin1').decode(guestOs.description).startsWith('linux'),
  };
}

function readEntry(elf: ElfFile, note: ElfNote): number {
  const { description } = note;
  const view = new DataView(description.buffer, description.byteOffset, description.byteLength);
  if (description.length === 4) return view.getUint32(0, true);
  if (description.length === 8) {
    const entry = view.getBigUint64(0, true);
    if (entry <= 0xffffffffn) return Number(entry);
  }
  throw elf.file.damaged('its PVH entry note names no 32-bit address');
}

/** Places kernel, modules and hvm_start_info. Several initrds of Linux become one: it reads the first module only. */
export function loadPvh(request: BootRequest, elf: ElfFile, notes: PvhNotes): LoadedKernel {
  const { memory, file } = request;
  const space = new BootSpace(memory, file.name);
  claimFirmwareAreas(space);
  const kernelEnd = claimSegments(elf, space);
  const { entryGuestPhysical } = notes;
  if (!liesInSegments(elf, entryGuestPhysical)) {
    throw file.damaged(`its PVH entry point 0x${entryGuestPhysical.toString(16)} lies in none of its segments`);
  }
  writeSegments(elf, space);

  const commandLineMaxBytes = notes.isLinux ? LINUX_COMMAND_LINE_MAX_BYTES : COMMAND_LINE_MAX_BYTES - 1;
  const placeString = (text: string, what: string): number => {
    const bytes = encodeCommandLine(text, commandLineMaxBytes, file.name);
    const guestPhysical = space.placeLow(bytes.length, 1, COMMAND_LINE, what);
    memory.write(guestPhysical, bytes);
    return guestPhysical;
  };
  const commandLineGuestPhysical = placeString(request.commandLine, 'the command line');
  const modules = (notes.isLinux ? placeInitramfs : placeModules)(request, space, kernelEnd).map((module) => ({
    ...module,
    commandLineGuestPhysical: module.commandLine === undefined ? 0 : placeString(module.commandLine, 'a module string'),
  }));

  const { memoryMap } = request;
  const moduleListBytes = modules.length * MODLIST_ENTRY.sizeBytes;
  const startInfoBytes = START_INFO.sizeBytes + moduleListBytes + memoryMap.length * MEMMAP_ENTRY.sizeBytes;
  const startInfo = space.placeLow(startInfoBytes, 8, BOOT_INFORMATION, 'hvm_start_info');
  const moduleList = startInfo + START_INFO.sizeBytes;
  const memoryMapTable = moduleList + moduleListBytes;
  memory.bytes(startInfo, startInfoBytes).fill(0);
  memory.writeU32(startInfo + START_INFO.magic, XEN_HVM_START_MAGIC_VALUE);
  memory.writeU32(startInfo + START_INFO.version, 1);
  memory.writeU32(startInfo + START_INFO.nr_modules, modules.length);
  memory.writeU64(startInfo + START_INFO.modlist_paddr, BigInt(modules.length === 0 ? 0 : moduleList));
  memory.writeU64(startInfo + START_INFO.cmdline_paddr, BigInt(commandLineGuestPhysical));
  memory.writeU64(startInfo + START_INFO.rsdp_paddr, BigInt(request.rsdpGuestPhysical ?? 0));
  memory.writeU64(startInfo + START_INFO.memmap_paddr, BigInt(memoryMapTable));
  memory.writeU32(startInfo + START_INFO.memmap_entries, memoryMap.length);
  for (const [index, module] of modules.entries()) {
    const entry = moduleList + index * MODLIST_ENTRY.sizeBytes;
    memory.writeU64(entry + MODLIST_ENTRY.paddr, BigInt(module.guestPhysical));
    memory.writeU64(entry + MODLIST_ENTRY.size, BigInt(module.sizeBytes));
    memory.writeU64(entry + MODLIST_ENTRY.cmdline_paddr, BigInt(module.commandLineGuestPhysical));
  }
  for (const [index, range] of memoryMap.entries()) {
    const entry = memoryMapTable + index * MEMMAP_ENTRY.sizeBytes;
    memory.writeU64(entry + MEMMAP_ENTRY.addr, BigInt(range.guestPhysical));
    memory.writeU64(entry + MEMMAP_ENTRY.size, BigInt(range.sizeBytes));
    memory.writeU32(entry + MEMMAP_ENTRY.type, range.type);
  }

  const gdtGuestPhysical = space.placeLow(GDT_BYTES, 8, GDT, 'the GDT');
  const state = protectedModeState(memory, { entryGuestPhysical, gdtGuestPhysical, eax: 0, ebx: startInfo });
  const kind = notes.isLinux ? 'Linux ELF kernel' : 'ELF kernel';
  return { state, format: 'pvh', description: `${elf.is64Bit ? '64-bit' : '32-bit'} ${kind}, PVH entry` };
}

/** Linux: all initrds as one, as high as x86 kernels take it. */
function placeInitramfs(request: BootRequest, space: BootSpace, kernelEnd: number): PlacedModule[] {
  const sizeBytes = initramfsSizeBytes(request.modules);
  if (sizeBytes === 0) return [];
  const limit = LINUX_INITRD_ADDRESS_MAX + 1;
  const guestPhysical = space.placeHigh(sizeBytes, PAGE_BYTES, kernelEnd, limit, 'an initrd');
  writeInitramfs(request, guestPhysical);
  return [{ guestPhysical, sizeBytes, commandLine: undefined }];
}
