// ELF executables as kernels come: header, program headers, notes and section headers (System V ABI, chapters 4 and 5),
// 32-bit and 64-bit, little-endian, x86. Segments go to their physical addresses; nothing is relocated.

import { UserError } from '../../base/errors.ts';
import type { BootSpace } from './boot-space.ts';
import type { KernelFile } from './kernel-file.ts';

export const ELF_TYPE = { EXEC: 2, DYN: 3 } as const;
const MACHINE = { I386: 3, X86_64: 62 } as const;
export const SEGMENT_TYPE = { LOAD: 1, INTERP: 3, NOTE: 4, TLS: 7 } as const;

/** Kernels have a handful; a limit keeps a damaged file from costing time. */
const LOADED_SEGMENTS_MAX = 128;
const NOTES_MAX = 4096;

export interface ElfSegment {
  type: number;
  fileOffset: number;
  fileSizeBytes: number;
  guestVirtual: bigint;
  guestPhysical: number;
  memorySizeBytes: number;
  alignment: number;
}

export interface ElfNote {
  name: string;
  type: number;
  description: Uint8Array;
}

export interface ElfFile {
  file: KernelFile;
  is64Bit: boolean;
  type: number;
  entry: bigint;
  segments: ElfSegment[];
  sectionTable: { fileOffset: number; entryBytes: number; count: number; nameIndex: number } | undefined;
}

/** True when the file begins with the ELF magic. */
export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** Reads the headers. Throws UserError for an ELF of another machine or kind, or one whose tables are damaged. */
export function parseElf(file: KernelFile): ElfFile {
  const elfClass = file.u8(4, 'ELF header');
  const is64Bit = elfClass === 2;
  if ((elfClass !== 1 && !is64Bit) || file.u8(5, 'ELF header') !== 1) {
    throw new UserError(`${file.name} is not a kernel for x86: its ELF class or byte order is another`);
  }
  const type = file.u16(16, 'ELF header');
  const machine = file.u16(18, 'ELF header');
  if (machine !== MACHINE.X86_64 && machine !== MACHINE.I386) {
    throw new UserError(`${file.name} is not a kernel for x86: its ELF machine is ${machine}`);
  }
  if (type !== ELF_TYPE.EXEC && type !== ELF_TYPE.DYN) {
    throw new UserError(`${file.name} is an ELF file, but not an executable one (e_type ${type})`);
  }
  const word = (offset: number): bigint =>
    is64Bit ? file.u64(offset, 'ELF header') : BigInt(file.u32(offset, 'ELF header'));
  const counts = is64Bit ? 54 : 42;
  const programHeaders = {
    fileOffset: Number(word(is64Bit ? 32 : 28)),
    entryBytes: file.u16(counts, 'ELF header'),
    count: file.u16(counts + 2, 'ELF header'),
  };
  if (programHeaders.count === 0) throw file.damaged('it has no ELF program headers');
  if (programHeaders.entryBytes < (is64Bit ? 56 : 32)) throw file.damaged('its ELF program headers are too small');
  const segments: ElfSegment[] = [];
  for (let index = 0; index < programHeaders.count; index++) {
    segments.push(readSegment(file, is64Bit, programHeaders.fileOffset + index * programHeaders.entryBytes));
  }
  const sectionCount = file.u16(counts + 6, 'ELF header');
  return {
    file,
    is64Bit,
    type,
    entry: word(24),
    segments,
    sectionTable:
      sectionCount === 0
        ? undefined
        : {
            fileOffset: Number(word(is64Bit ? 40 : 32)),
            entryBytes: file.u16(counts + 4, 'ELF header'),
            count: sectionCount,
            nameIndex: file.u16(counts + 8, 'ELF header'),
          },
  };
}

function readSegment(file: KernelFile, is64Bit: boolean, offset: number): ElfSegment {
  const what = 'ELF program header table';
  if (is64Bit) {
    return {
      type: file.u32(offset, what),
      fileOffset: Number(file.u64(offset + 8, what)),
      guestVirtual: file.u64(offset + 16, what),
      guestPhysical: Number(file.u64(offset + 24, what)),
      fileSizeBytes: Number(file.u64(offset + 32, what)),
      memorySizeBytes: Number(file.u64(offset + 40, what)),
      alignment: Number(file.u64(offset + 48, what)),
    };
  }
  return {
    type: file.u32(offset, what),
    fileOffset: file.u32(offset + 4, what),
    guestVirtual: BigInt(file.u32(offset + 8, what)),
    guestPhysical: file.u32(offset + 12, what),
    fileSizeBytes: file.u32(offset + 16, what),
    memorySizeBytes: file.u32(offset + 20, what),
    alignment: file.u32(offset + 28, what),
  };
}

/** The notes of all PT_NOTE segments. */
export function readNotes(elf: ElfFile): ElfNote[] {
  const { file } = elf;
  const notes: ElfNote[] = [];
  for (const segment of elf.segments) {
    if (segment.type !== SEGMENT_TYPE.NOTE) continue;
    const alignment = segment.alignment === 8 ? 8 : 4;
    const align = (value: number): number => Math.ceil(value / alignment) * alignment;
    const end = segment.fileOffset + segment.fileSizeBytes;
    let position = segment.fileOffset;
    while (position + 12 <= end) {
      if (notes.length === NOTES_MAX) throw file.damaged('it has too many ELF notes');
      const nameBytes = file.u32(position, 'ELF note');
      const descriptionBytes = file.u32(position + 4, 'ELF note');
      const name = file.slice(position + 12, nameBytes, 'ELF note');
      const descriptionOffset = segment.fileOffset + align(position + 12 + nameBytes - segment.fileOffset);
      notes.push({
        name: new TextDecoder('latin1').decode(name).replace(/\0.*$/s, ''),
        type: file.u32(position + 8, 'ELF note'),
        description: file.slice(descriptionOffset, descriptionBytes, 'ELF note'),
      });
      position = segment.fileOffset + align(descriptionOffset + descriptionBytes - segment.fileOffset);
    }
  }
  return notes;
}

/** The PT_LOAD segments that hold something, in address order. Throws UserError when they are none or overlap. */
export function loadedSegments(elf: ElfFile): ElfSegment[] {
  const { file } = elf;
  const loaded = elf.segments
    .filter((segment) => segment.type === SEGMENT_TYPE.LOAD && segment.memorySizeBytes > 0)
    .sort((left, right) => left.guestPhysical - right.guestPhysical);
  if (loaded.length === 0) throw file.damaged('it has no ELF segment to load');
  if (loaded.length > LOADED_SEGMENTS_MAX) throw file.damaged(`it has ${loaded.length} ELF segments to load`);
  let previousEnd = 0;
  for (const segment of loaded) {
    if (segment.fileSizeBytes > segment.memorySizeBytes) {
      throw file.damaged('an ELF segment is larger in the file than in memory');
    }
    file.slice(segment.fileOffset, segment.fileSizeBytes, 'ELF segment');
    if (segment.guestPhysical < previousEnd) throw file.damaged('its ELF segments overlap in memory');
    previousEnd = segment.guestPhysical + segment.memorySizeBytes;
  }
  return loaded;
}

/** Claims every segment's place and returns where the last one ends. */
export function claimSegments(elf: ElfFile, space: BootSpace): number {
  let end = 0;
  for (const segment of loadedSegments(elf)) {
    space.claim(segment.guestPhysical, segment.memorySizeBytes, 'a segment of the kernel');
    end = segment.guestPhysical + segment.memorySizeBytes;
  }
  return end;
}

/** Copies every segment to its physical address and clears what the file does not fill; their places are claimed. */
export function writeSegments(elf: ElfFile, space: BootSpace): void {
  for (const segment of loadedSegments(elf)) {
    const target = space.memory.bytes(segment.guestPhysical, segment.memorySizeBytes);
    target.set(elf.file.slice(segment.fileOffset, segment.fileSizeBytes, 'ELF segment'));
    target.fill(0, segment.fileSizeBytes);
  }
}

/** True when a loaded segment holds the physical address. */
export function liesInSegments(elf: ElfFile, guestPhysical: number): boolean {
  return loadedSegments(elf).some(
    (segment) =>
      guestPhysical >= segment.guestPhysical && guestPhysical < segment.guestPhysical + segment.memorySizeBytes,
  );
}

/**
 * The physical address of the entry point. e_entry is physical in Linux and in most kernels; where it lies in no
 * segment physically, it is a virtual address and is translated by its segment.
 */
export function physicalEntry(elf: ElfFile): number {
  if (liesInSegments(elf, Number(elf.entry))) return Number(elf.entry);
  for (const segment of loadedSegments(elf)) {
    const offset = elf.entry - segment.guestVirtual;
    if (offset >= 0n && offset < BigInt(segment.memorySizeBytes)) return segment.guestPhysical + Number(offset);
  }
  throw elf.file.damaged(`its entry point 0x${elf.entry.toString(16)} lies in none of its segments`);
}
