// Executable sections of real programs that this host has: kernel and busybox of the guest images in the cache, and the
// ELF files that BULKHEAD_DECODE_PROGRAMS names (separated by colons).

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { detectCompression } from '../../src/machine/boot/decompression/decompressor.ts';
import { nodeDecompressor } from '../../src/vm/node-decompressor.ts';

export interface ProgramText {
  readonly name: string;
  readonly codeSize: 32 | 64;
  readonly sections: readonly Uint8Array[];
}

const IMAGES = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'bulkhead', 'images');
const SHF_EXECINSTR = 4;
const SHT_NOBITS = 8;
const EM_386 = 3;
const CPIO_HEADER_BYTES = 110;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function programOf(name: string, elf: Uint8Array): ProgramText {
  const view = viewOf(elf);
  const is32 = view.getUint16(18, true) === EM_386;
  const word = (offset: number): number =>
    is32 ? view.getUint32(offset, true) : Number(view.getBigUint64(offset, true));
  const table = word(is32 ? 32 : 40);
  const [entryBytes, count] = [view.getUint16(is32 ? 46 : 58, true), view.getUint16(is32 ? 48 : 60, true)];
  const sections: Uint8Array[] = [];
  for (let entry = table; entry < table + count * entryBytes; entry += entryBytes) {
    const executable = (word(entry + 8) & SHF_EXECINSTR) !== 0 && view.getUint32(entry + 4, true) !== SHT_NOBITS;
    const [offset, sizeBytes] = is32 ? [word(entry + 16), word(entry + 20)] : [word(entry + 24), word(entry + 32)];
    if (executable) sections.push(elf.subarray(offset, offset + sizeBytes));
  }
  return { name, codeSize: is32 ? 32 : 64, sections };
}

/** The vmlinux in a bzImage (Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length). */
function vmlinuxOf(bzImage: Uint8Array): Uint8Array {
  const view = viewOf(bzImage);
  const start = (bzImage[0x1f1]! + 1) * 512 + view.getUint32(0x248, true);
  const end = start + view.getUint32(0x24c, true);
  const format = detectCompression(bzImage.subarray(start, end));
  if (format === undefined) throw new Error('the bzImage has a payload of unknown format');
  const payload = bzImage.subarray(start, format === 'gzip' ? end : end - 4);
  return nodeDecompressor.decompress(format, payload, view.getUint32(end - 4, true));
}

/** A file of an uncompressed newc archive. */
function fileInCpio(archive: Uint8Array, path: string): Uint8Array | undefined {
  const text = (offset: number, length: number): string =>
    Buffer.from(archive.buffer, archive.byteOffset + offset, length).toString('latin1');
  const align = (offset: number): number => (offset + 3) & ~3;
  for (let offset = 0; text(offset, 6) === '070701'; ) {
    const field = (index: number): number => Number.parseInt(text(offset + 6 + index * 8, 8), 16);
    const [sizeBytes, nameBytes] = [field(6), field(11)];
    const dataOffset = align(offset + CPIO_HEADER_BYTES + nameBytes);
    if (text(offset + CPIO_HEADER_BYTES, nameBytes - 1) === path)
      return archive.subarray(dataOffset, dataOffset + sizeBytes);
    offset = align(dataOffset + sizeBytes);
  }
  return undefined;
}

export interface ProgramSource {
  readonly name: string;
  /** undefined: there is none on this host. */
  readonly read: (() => ProgramText) | undefined;
}

function imageSources(image: string): ProgramSource[] {
  const folder = join(IMAGES, image);
  const files = existsSync(folder) ? readdirSync(folder).sort() : [];
  const kernel = files.findLast((file) => file.startsWith('vmlinuz-'));
  const initrd = files.findLast((file) => /^initrd-.*\.cpio$/.test(file));
  const bytesOf = (file: string): Uint8Array => readFileSync(join(folder, file));
  const busybox = initrd === undefined ? undefined : fileInCpio(bytesOf(initrd), 'usr/bin/busybox');
  const [kernelName, busyboxName] = [`the kernel of ${image}`, `the busybox of ${image}`];
  return [
    {
      name: kernelName,
      read: kernel === undefined ? undefined : () => programOf(kernelName, vmlinuxOf(bytesOf(kernel))),
    },
    { name: busyboxName, read: busybox === undefined ? undefined : () => programOf(busyboxName, busybox) },
  ];
}

export function programSources(): ProgramSource[] {
  const named = (process.env.BULKHEAD_DECODE_PROGRAMS ?? '').split(':').filter((path) => path !== '');
  return [
    ...['debian-12', 'debian-13'].flatMap(imageSources),
    ...named.map((path) => ({ name: basename(path), read: () => programOf(basename(path), readFileSync(path)) })),
  ];
}
