// Tiny kernels for the tests of the boot loaders: ELF files, bzImages and Multiboot images, byte by byte.

import { gzipSync } from 'node:zlib';
import { GuestMemory } from '../../../memory/guest-memory.ts';

const MIB = 1024 * 1024;

export function ram(sizeMib: number): GuestMemory {
  const pages = sizeMib * 16;
  return new GuestMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }), 0, sizeMib * MIB);
}

export interface TestSegment {
  type?: number;
  guestPhysical?: number;
  guestVirtual?: bigint;
  bytes: Uint8Array;
  memorySizeBytes?: number;
  alignment?: number;
}

export interface TestSection {
  type: number;
  flags: number;
  guestVirtual: number;
  bytes: Uint8Array;
}

export interface TestElf {
  is64Bit?: boolean;
  type?: number;
  machine?: number;
  entry?: bigint;
  segments?: TestSegment[];
  sections?: TestSection[];
}

/** An ELF file; its first segment's bytes begin at the returned file's first multiple of 16 after the headers. */
export function buildElf(elf: TestElf): Uint8Array {
  const is64Bit = elf.is64Bit ?? true;
  const headerBytes = is64Bit ? 64 : 52;
  const segmentBytes = is64Bit ? 56 : 32;
  const sectionBytes = is64Bit ? 64 : 40;
  const segments = elf.segments ?? [];
  const sections = elf.sections ?? [];
  const parts: { offset: number; bytes: Uint8Array }[] = [];
  let end = headerBytes + segments.length * segmentBytes;
  const append = (bytes: Uint8Array): number => {
    const offset = Math.ceil(end / 16) * 16;
    parts.push({ offset, bytes });
    end = offset + bytes.length;
    return offset;
  };

  const header = new Uint8Array(headerBytes + segments.length * segmentBytes);
  const view = new DataView(header.buffer);
  const word = (target: DataView, offset: number, value: bigint): void => {
    if (is64Bit) target.setBigUint64(offset, value, true);
    else target.setUint32(offset, Number(value), true);
  };
  header.set([0x7f, 0x45, 0x4c, 0x46, is64Bit ? 2 : 1, 1, 1]);
  view.setUint16(16, elf.type ?? 2, true);
  view.setUint16(18, elf.machine ?? (is64Bit ? 62 : 3), true);
  view.setUint32(20, 1, true);
  word(view, 24, elf.entry ?? BigInt(segments[0]?.guestPhysical ?? 0));
  word(view, is64Bit ? 32 : 28, BigInt(headerBytes));
  const counts = is64Bit ? 52 : 40;
  view.setUint16(counts, headerBytes, true);
  view.setUint16(counts + 2, segmentBytes, true);
  view.setUint16(counts + 4, segments.length, true);
  for (const [index, segment] of segments.entries()) {
    const at = headerBytes + index * segmentBytes;
    const guestPhysical = BigInt(segment.guestPhysical ?? 0);
    const fileOffset = BigInt(append(segment.bytes));
    const fileSize = BigInt(segment.bytes.length);
    const memorySize = BigInt(segment.memorySizeBytes ?? segment.bytes.length);
    view.setUint32(at, segment.type ?? 1, true);
    const words = [fileOffset, segment.guestVirtual ?? guestPhysical, guestPhysical, fileSize, memorySize];
    for (const [field, value] of words.entries()) word(view, is64Bit ? at + 8 + field * 8 : at + 4 + field * 4, value);
    word(view, at + (is64Bit ? 48 : 28), BigInt(segment.alignment ?? 4));
  }

  if (sections.length > 0) {
    const table = new Uint8Array((sections.length + 1) * sectionBytes);
    const tableView = new DataView(table.buffer);
    for (const [index, section] of sections.entries()) {
      const at = (index + 1) * sectionBytes;
      const fields = [BigInt(section.flags), BigInt(section.guestVirtual), BigInt(append(section.bytes))];
      tableView.setUint32(at + 4, section.type, true);
      for (const [field, value] of [...fields, BigInt(section.bytes.length)].entries()) {
        word(tableView, at + 8 + field * (is64Bit ? 8 : 4), value);
      }
    }
    word(view, is64Bit ? 40 : 32, BigInt(append(table)));
    view.setUint16(counts + 6, sectionBytes, true);
    view.setUint16(counts + 8, sections.length + 1, true);
    view.setUint16(counts + 10, sections.length, true);
  }
  return join([{ offset: 0, bytes: header }, ...parts]);
}

/** One ELF note, padded to 4 bytes. */
export function buildNote(name: string, type: number, description: Uint8Array): Uint8Array {
  const nameBytes = new TextEncoder().encode(`${name}\0`);
  const descriptionOffset = 12 + Math.ceil(nameBytes.length / 4) * 4;
  const note = new Uint8Array(descriptionOffset + Math.ceil(description.length / 4) * 4);
  const view = new DataView(note.buffer);
  view.setUint32(0, nameBytes.length, true);
  view.setUint32(4, description.length, true);
  view.setUint32(8, type, true);
  note.set(nameBytes, 12);
  note.set(description, descriptionOffset);
  return note;
}

/** A PVH ELF kernel: one segment of `text` at `guestPhysical`, and the notes. */
export function buildPvhElf(options: {
  is64Bit?: boolean;
  guestPhysical: number;
  text: Uint8Array;
  entry: bigint;
  isLinux?: boolean;
}): Uint8Array {
  const entry = new Uint8Array(8);
  new DataView(entry.buffer).setBigUint64(0, options.entry, true);
  const notes = [
    buildNote('GNU', 3, new Uint8Array(5)),
    buildNote('Xen', 18, (options.is64Bit ?? true) ? entry : entry.subarray(0, 4)),
  ];
  if (options.isLinux) notes.push(buildNote('Xen', 6, new TextEncoder().encode('linux\0')));
  return buildElf({
    is64Bit: options.is64Bit ?? true,
    segments: [
      { guestPhysical: options.guestPhysical, bytes: options.text, memorySizeBytes: options.text.length + 256 },
      { type: 4, bytes: Buffer.concat(notes) },
    ],
  });
}

export interface TestBzImage {
  version?: number;
  loadflags?: number;
  xloadflags?: number;
  cmdlineSize?: number;
  initrdAddressMax?: number;
  initSize?: number;
  prefAddress?: bigint;
  payloadOffset?: number;
  payloadLength?: number;
  headerEnd?: number;
  kernelVersion?: string;
  /** The payload as it lies in the file, its trailer included. */
  payload: Uint8Array;
}

/**
 * A bzImage of one setup sector more than the boot sector and a protected-mode part that is nothing but its payload.
 */
export function buildBzImage(image: TestBzImage): Uint8Array {
  const setupBytes = 2 * 512 + 512;
  const bytes = new Uint8Array(setupBytes + image.payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0x1f1] = 2;
  view.setUint16(0x1fe, 0xaa55, true);
  bytes[0x200] = 0xeb;
  bytes[0x201] = (image.headerEnd ?? 0x26c) - 0x202;
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, image.version ?? 0x20f, true);
  view.setUint16(0x20e, 0x100, true);
  bytes.set(new TextEncoder().encode(`${image.kernelVersion ?? '6.1.0-test'} (someone) #1\0`), 0x300);
  bytes[0x211] = image.loadflags ?? 0x03;
  view.setUint32(0x22c, image.initrdAddressMax ?? 0x7fffffff, true);
  view.setUint16(0x236, image.xloadflags ?? 1, true);
  view.setUint32(0x238, image.cmdlineSize ?? 2047, true);
  view.setUint32(0x248, image.payloadOffset ?? 0, true);
  view.setUint32(0x24c, image.payloadLength ?? image.payload.length, true);
  view.setBigUint64(0x258, image.prefAddress ?? 0x1000000n, true);
  view.setUint32(0x260, image.initSize ?? MIB, true);
  bytes.set(image.payload, setupBytes);
  return bytes;
}

/** A vmlinux of two segments at 16 MiB, as Linux has them: virtual addresses high, the entry physical. */
export function buildVmlinux(): Uint8Array {
  return buildElf({
    entry: 0x1000040n,
    segments: [
      { guestPhysical: 0x1000000, guestVirtual: 0xffffffff81000000n, bytes: pattern(4096, 1) },
      { guestPhysical: 0x1002000, guestVirtual: 0xffffffff81002000n, bytes: pattern(100, 2), memorySizeBytes: 4096 },
    ],
  });
}

/** A gzip payload: gzip's own trailer is the size. */
export const gzipPayload = (vmlinux: Uint8Array): Uint8Array => gzipSync(vmlinux);

/** Appends the unpacked size, as the kernel build does behind streams other than gzip. */
export function appendSize(compressed: Uint8Array, sizeBytes: number): Uint8Array {
  const payload = new Uint8Array(compressed.length + 4);
  payload.set(compressed);
  new DataView(payload.buffer).setUint32(compressed.length, sizeBytes, true);
  return payload;
}

/** A Multiboot 1 header, its checksum right; `addresses` are the five fields that bit 16 announces. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const words = [0x1badb002, flags, -(0x1badb002 + flags), ...addresses];
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [index, word] of words.entries()) view.setUint32(index * 4, word >>> 0, true);
  return bytes;
}

/** Bytes that differ from zero and from each other's neighbours. */
export function pattern(sizeBytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, index) => ((index * 7 + seed * 31) % 251) + 1);
}

function join(parts: readonly { offset: number; bytes: Uint8Array }[]): Uint8Array {
  const file = new Uint8Array(Math.max(...parts.map(({ offset, bytes }) => offset + bytes.length)));
  for (const { offset, bytes } of parts) file.set(bytes, offset);
  return file;
}
