// Multiboot 1 (Multiboot Specification 0.6.96): the header within the image's first 8 KiB, the image as ELF or by the
// header's own addresses, and the information structure; entered in 32-bit protected mode with eax = the magic.

import { UserError } from '../../base/errors.ts';
import type { BootRequest, LoadedKernel } from './boot-request.ts';
import { alignUp, BootSpace, PAGE_BYTES } from './boot-space.ts';
import { encodeCommandLine } from './command-line.ts';
import { claimSegments, type ElfFile, isElf, parseElf, physicalEntry, writeSegments } from './elf-file.ts';
import { GDT_BYTES, protectedModeState } from './entry-state.ts';
import type { KernelFile } from './kernel-file.ts';
import { BOOT_INFORMATION, COMMAND_LINE, COMMAND_LINE_MAX_BYTES, claimFirmwareAreas, GDT } from './low-memory.ts';
import { EBDA_GUEST_PHYSICAL, HIGH_MEMORY_GUEST_PHYSICAL } from './memory-map.ts';
import { placeModules } from './modules.ts';

const HEADER_MAGIC = 0x1badb002;
const BOOTLOADER_MAGIC = 0x2badb002;
const HEADER_SEARCH_BYTES = 8192;
const BOOT_LOADER_NAME = 'Bulkhead';

const HEADER_FLAG = { PAGE_ALIGN: 1 << 0, MEMORY_INFO: 1 << 1, VIDEO_MODE: 1 << 2, AOUT_KLUDGE: 1 << 16 } as const;
/** Of the flags in bits 0 to 15, a boot loader must refuse those that it does not know. */
const REQUIRED_FLAGS = 0xffff;
const SUPPORTED_FLAGS = HEADER_FLAG.PAGE_ALIGN | HEADER_FLAG.MEMORY_INFO;

const INFO_FLAG = {
  MEMORY: 1 << 0,
  CMDLINE: 1 << 2,
  MODS: 1 << 3,
  ELF_SHDR: 1 << 5,
  MEM_MAP: 1 << 6,
  BOOT_LOADER_NAME: 1 << 9,
} as const;
const INFO = {
  flags: 0,
  mem_lower: 4,
  mem_upper: 8,
  cmdline: 16,
  mods_count: 20,
  mods_addr: 24,
  elf_num: 28,
  elf_size: 32,
  elf_addr: 36,
  elf_shndx: 40,
  mmap_length: 44,
  mmap_addr: 48,
  boot_loader_name: 64,
  sizeBytes: 120,
} as const;
const MODULE_BYTES = 16;
/** A map entry's size field counts what follows it. */
const MMAP_ENTRY = { size: 0, base_addr: 4, length: 12, type: 20, sizeBytes: 24 } as const;

const SECTION_TYPE_NOBITS = 8;
const SECTION_FLAG_ALLOC = 2;

export interface MultibootHeader {
  fileOffset: number;
  flags: number;
}

/** The header, or undefined when the first 8 KiB hold none whose checksum is right. */
export function findMultibootHeader(file: KernelFile): MultibootHeader | undefined {
  const end = Math.min(file.sizeBytes, HEADER_SEARCH_BYTES) - 12;
  for (let fileOffset = 0; fileOffset <= end; fileOffset += 4) {
    if (file.u32(fileOffset, 'header') !== HEADER_MAGIC) continue;
    const flags = file.u32(fileOffset + 4, 'header');
    const checksum = file.u32(fileOffset + 8, 'header');
    if (((HEADER_MAGIC + flags + checksum) & 0xffffffff) === 0) return { fileOffset, flags };
  }
  return undefined;
}

/** Places image, modules and information structure. */
export function loadMultiboot1(request: BootRequest, header: MultibootHeader): LoadedKernel {
  const { memory, file } = request;
  const unsupported = header.flags & REQUIRED_FLAGS & ~SUPPORTED_FLAGS;
  if (unsupported !== 0) {
    const what = unsupported === HEADER_FLAG.VIDEO_MODE ? 'a video mode' : `the features 0x${unsupported.toString(16)}`;
    throw new UserError(`${file.name} is a Multiboot image that requires ${what}, which Bulkhead does not provide`);
  }
  const space = new BootSpace(memory, file.name);
  claimFirmwareAreas(space);
  const image = loadImage(file, header, space);
  const modules = placeModules(request, space, image.end);

  const placeString = (text: string, what: string): number => {
    const bytes = encodeCommandLine(text, COMMAND_LINE_MAX_BYTES - 1, file.name);
    const guestPhysical = space.placeLow(bytes.length, 1, COMMAND_LINE, what);
    memory.write(guestPhysical, bytes);
    return guestPhysical;
  };
  const commandLine = placeString(request.commandLine, 'the command line');
  const bootLoaderName = placeString(BOOT_LOADER_NAME, 'the boot loader name');
  const moduleStrings = modules.map((module) => placeString(module.commandLine ?? '', 'a module string'));

  const { memoryMap } = request;
  const moduleListBytes = modules.length * MODULE_BYTES;
  const memoryMapBytes = memoryMap.length * MMAP_ENTRY.sizeBytes;
  const informationBytes = INFO.sizeBytes + moduleListBytes + memoryMapBytes;
  const information = space.placeLow(informationBytes, 8, BOOT_INFORMATION, 'the Multiboot information');
  const moduleList = information + INFO.sizeBytes;
  const memoryMapTable = moduleList + moduleListBytes;
  memory.bytes(information, informationBytes).fill(0);

  let flags = INFO_FLAG.MEMORY | INFO_FLAG.CMDLINE | INFO_FLAG.MODS | INFO_FLAG.MEM_MAP | INFO_FLAG.BOOT_LOADER_NAME;
  memory.writeU32(information + INFO.mem_lower, EBDA_GUEST_PHYSICAL >> 10);
  memory.writeU32(information + INFO.mem_upper, (memory.sizeBytes - HIGH_MEMORY_GUEST_PHYSICAL) >>> 10);
  memory.writeU32(information + INFO.cmdline, commandLine);
  memory.writeU32(information + INFO.mods_count, modules.length);
  memory.writeU32(information + INFO.mods_addr, moduleList);
  for (const [index, module] of modules.entries()) {
    const entry = moduleList + index * MODULE_BYTES;
    memory.writeU32(entry, module.guestPhysical);
    memory.writeU32(entry + 4, module.guestPhysical + module.sizeBytes);
    memory.writeU32(entry + 8, moduleStrings[index]!);
  }
  memory.writeU32(information + INFO.mmap_length, memoryMapBytes);
  memory.writeU32(information + INFO.mmap_addr, memoryMapTable);
  for (const [index, range] of memoryMap.entries()) {
    const entry = memoryMapTable + index * MMAP_ENTRY.sizeBytes;
    memory.writeU32(entry + MMAP_ENTRY.size, MMAP_ENTRY.sizeBytes - 4);
    memory.writeU64(entry + MMAP_ENTRY.base_addr, BigInt(range.guestPhysical));
    memory.writeU64(entry + MMAP_ENTRY.length, BigInt(range.sizeBytes));
    memory.writeU32(entry + MMAP_ENTRY.type, range.type);
  }
  memory.writeU32(information + INFO.boot_loader_name, bootLoaderName);
  if (image.elf !== undefined && image.elf.sectionTable !== undefined) {
    flags |= INFO_FLAG.ELF_SHDR;
    const { count, entryBytes, nameIndex } = image.elf.sectionTable;
    memory.writeU32(information + INFO.elf_num, count);
    memory.writeU32(information + INFO.elf_size, entryBytes);
    memory.writeU32(information + INFO.elf_addr, placeSections(image.elf, space, image.end));
    memory.writeU32(information + INFO.elf_shndx, nameIndex);
  }
  memory.writeU32(information + INFO.flags, flags);

  const gdtGuestPhysical = space.placeLow(GDT_BYTES, 8, GDT, 'the GDT');
  const state = protectedModeState(memory, {
    entryGuestPhysical: image.entryGuestPhysical,
    gdtGuestPhysical,
    eax: BOOTLOADER_MAGIC,
    ebx: information,
  });
  const packing = image.elf === undefined ? 'flat' : image.elf.is64Bit ? '64-bit ELF' : '32-bit ELF';
  return { state, format: 'multiboot1', description: `Multiboot 1 kernel (${packing})` };
}

interface LoadedImage {
  entryGuestPhysical: number;
  end: number;
  elf: ElfFile | undefined;
}

/** The image by the header's addresses where bit 16 is set, as ELF otherwise. */
function loadImage(file: KernelFile, header: MultibootHeader, space: BootSpace): LoadedImage {
  if ((header.flags & HEADER_FLAG.AOUT_KLUDGE) !== 0) return loadByAddresses(file, header, space);
  if (!isElf(file.bytes)) {
    throw file.damaged('it is a Multiboot image that is neither an ELF file nor says where to load it');
  }
  const elf = parseElf(file);
  const end = claimSegments(elf, space);
  const entryGuestPhysical = physicalEntry(elf);
  writeSegments(elf, space);
  return { entryGuestPhysical, end, elf };
}

function loadByAddresses(file: KernelFile, header: MultibootHeader, space: BootSpace): LoadedImage {
  const field = (index: number): number => file.u32(header.fileOffset + 12 + index * 4, 'Multiboot header');
  const headerAddress = field(0);
  const loadAddress = field(1);
  const loadEndAddress = field(2);
  const bssEndAddress = field(3);
  const entryGuestPhysical = field(4);
  const fileOffset = header.fileOffset - (headerAddress - loadAddress);
  if (loadAddress > headerAddress || fileOffset < 0) {
    throw file.damaged('its Multiboot load address does not agree with the place of its header');
  }
  const loadBytes = loadEndAddress === 0 ? file.sizeBytes - fileOffset : loadEndAddress - loadAddress;
  const text = file.slice(fileOffset, loadBytes, 'Multiboot text and data');
  const loadEnd = loadAddress + loadBytes;
  const end = bssEndAddress === 0 ? loadEnd : bssEndAddress;
  if (end < loadEnd) throw file.damaged('its Multiboot bss ends before its data');
  if (entryGuestPhysical < loadAddress || entryGuestPhysical >= end) {
    throw file.damaged(`its Multiboot entry point 0x${entryGuestPhysical.toString(16)} lies outside the image`);
  }
  space.claim(loadAddress, end - loadAddress, 'the image');
  const target = space.memory.bytes(loadAddress, end - loadAddress);
  target.set(text);
  target.fill(0, loadBytes);
  return { entryGuestPhysical, end, elf: undefined };
}

/**
 * Copies the section header table, and each section that the image itself does not load (symbols, strings, debug
 * information), behind the kernel; the copies' sh_addr says where. Returns where the table is.
 */
function placeSections(elf: ElfFile, space: BootSpace, kernelEnd: number): number {
  const { file, is64Bit } = elf;
  const { memory } = space;
  const table = elf.sectionTable!;
  if (table.entryBytes < (is64Bit ? 64 : 40)) throw file.damaged('its ELF section headers are too small');
  const from = Math.max(kernelEnd, HIGH_MEMORY_GUEST_PHYSICAL);
  const what = 'ELF section header table';
  const headers = file.slice(table.fileOffset, table.count * table.entryBytes, what).slice();
  const view = new DataView(headers.buffer);
  const word = (offset: number): number =>
    is64Bit ? Number(view.getBigUint64(offset, true)) : view.getUint32(offset, true);
  const field = is64Bit
    ? { flags: 8, address: 16, offset: 24, size: 32 }
    : { flags: 8, address: 12, offset: 16, size: 20 };

  const loaded: { entry: number; bytes: Uint8Array; offset: number }[] = [];
  let totalBytes = alignUp(headers.length, 16);
  for (let index = 1; index < table.count; index++) {
    const entry = index * table.entryBytes;
    const sizeBytes = word(entry + field.size);
    const isNoBits = view.getUint32(entry + 4, true) === SECTION_TYPE_NOBITS;
    if (isNoBits || sizeBytes === 0 || (word(entry + field.flags) & SECTION_FLAG_ALLOC) !== 0) continue;
    loaded.push({ entry, bytes: file.slice(word(entry + field.offset), sizeBytes, 'ELF section'), offset: totalBytes });
    totalBytes = alignUp(totalBytes + sizeBytes, 16);
  }
  const base = space.placeLow(totalBytes, PAGE_BYTES, from, "the kernel's symbols");
  for (const { entry, bytes, offset } of loaded) {
    memory.write(base + offset, bytes);
    if (is64Bit) view.setBigUint64(entry + field.address, BigInt(base + offset), true);
    else view.setUint32(entry + field.address, base + offset, true);
  }
  memory.write(base, headers);
  return base;
}
