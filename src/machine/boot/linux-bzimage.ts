// A Linux bzImage (Documentation/arch/x86/boot.rst): its setup header is checked, its compressed vmlinux is unpacked
// here on the host, and the vmlinux is booted by the 64-bit protocol. Boot protocol 2.12 (Linux 3.8) and later: earlier
// headers cannot say that the kernel is a 64-bit one.

import { UserError } from '../../base/errors.ts';
import type { BootRequest, LoadedKernel } from './boot-request.ts';
import { type Decompressor, detectCompression } from './decompression/decompressor.ts';
import { isElf, parseElf } from './elf-file.ts';
import { KernelFile } from './kernel-file.ts';
import {
  BOOT_FLAG,
  FIELD,
  HEADER_MAGIC,
  LOADFLAGS,
  SETUP_HEADER,
  SETUP_HEADER_END_MAX,
  XLF_KERNEL_64,
} from './linux-boot-params.ts';
import { type LinuxSetup, loadLinuxKernel, requireLinuxRam } from './linux-kernel.ts';

const SECTOR_BYTES = 512;
/** setup_sects 0 means this. */
const SETUP_SECTORS_DEFAULT = 4;
const MINIMUM_VERSION = 0x20c;
/**
 * The payload's last bytes: its size when unpacked. Gzip's own trailer ends so; the kernel build appends it to others.
 */
const PAYLOAD_SIZE_BYTES = 4;
const VERSION_STRING_MAX_BYTES = 256;

/** True when the file has a Linux setup header. */
export function isBzImage(file: KernelFile): boolean {
  return (
    file.sizeBytes >= FIELD.version + 2 &&
    file.u16(FIELD.boot_flag, 'boot flag') === BOOT_FLAG &&
    file.u32(FIELD.header, 'setup header') === HEADER_MAGIC
  );
}

/** Places the kernel. Throws UserError for what this file, its payload or the machine's RAM does not allow. */
export function loadBzImage(request: BootRequest): LoadedKernel {
  const { file } = request;
  const header = readSetupHeader(file);
  requireLinuxRam(request, header.prefAddress + header.initBytes);
  const { vmlinux, format } = unpackPayload(file, request.decompressor, header);
  const elf = parseElf(new KernelFile(`${file.name}'s payload`, vmlinux));
  if (!elf.is64Bit) throw file.damaged('its payload is a 32-bit kernel, where its header announces a 64-bit one');
  const state = loadLinuxKernel(request, elf, header);
  const version = header.kernelVersion === '' ? '' : ` ${header.kernelVersion}`;
  return { state, format: 'linux-bzimage', description: `Linux${version} (bzImage, ${format})` };
}

interface SetupHeader extends LinuxSetup {
  payload: Uint8Array;
  prefAddress: number;
  kernelVersion: string;
}

function readSetupHeader(file: KernelFile): SetupHeader {
  const what = 'setup header';
  const version = file.u16(FIELD.version, what);
  if (version < MINIMUM_VERSION) {
    throw new UserError(
      `${file.name} is a Linux bzImage of boot protocol ${version >> 8}.${version & 0xff}, ` +
        'and Bulkhead needs 2.12 or later (Linux 3.8)',
    );
  }
  if ((file.u8(FIELD.loadflags, what) & LOADFLAGS.LOADED_HIGH) === 0) {
    throw new UserError(`${file.name} is a Linux zImage, which Bulkhead cannot boot`, { hint: 'build a bzImage' });
  }
  if ((file.u16(FIELD.xloadflags, what) & XLF_KERNEL_64) === 0) {
    throw new UserError(`${file.name} is a 32-bit Linux bzImage, and Bulkhead boots 64-bit ones`, {
      hint: 'use the amd64 kernel',
    });
  }
  // The second byte of the jump over the header says where the header ends.
  const headerEnd = FIELD.header + file.u8(FIELD.jump + 1, what);
  if (headerEnd < FIELD.init_size + 4 || headerEnd > SETUP_HEADER_END_MAX) {
    throw file.damaged(`its setup header ends at 0x${headerEnd.toString(16)}`);
  }
  const setupSectors = file.u8(FIELD.setup_sects, what) || SETUP_SECTORS_DEFAULT;
  const payloadOffset = (setupSectors + 1) * SECTOR_BYTES + file.u32(FIELD.payload_offset, what);
  const payloadBytes = file.u32(FIELD.payload_length, what);
  if (payloadBytes <= PAYLOAD_SIZE_BYTES) throw file.damaged('it has no payload');
  return {
    setupHeader: file.slice(SETUP_HEADER, headerEnd - SETUP_HEADER, what),
    commandLineMaxBytes: file.u32(FIELD.cmdline_size, what),
    initrdAddressMax: file.u32(FIELD.initrd_addr_max, what),
    initBytes: file.u32(FIELD.init_size, what),
    prefAddress: Number(file.u64(FIELD.pref_address, what)),
    payload: file.slice(payloadOffset, payloadBytes, 'payload'),
    kernelVersion: readKernelVersion(file, setupSectors),
  };
}

function readKernelVersion(file: KernelFile, setupSectors: number): string {
  const pointer = file.u16(FIELD.kernel_version, 'setup header');
  const start = pointer + SECTOR_BYTES;
  const limit = Math.min((setupSectors + 1) * SECTOR_BYTES, file.sizeBytes, start + VERSION_STRING_MAX_BYTES);
  if (pointer === 0 || start >= limit) return '';
  const text = new TextDecoder('latin1').decode(file.bytes.subarray(start, limit));
  return /^[\x20-\x7e]*/.exec(text)![0].split(' ')[0]!;
}

/** The kernel's ELF file within a bzImage. Throws UserError where it does not unpack. */
export function unpackBzImage(file: KernelFile, decompressor: Decompressor): Uint8Array {
  return unpackPayload(file, decompressor, readSetupHeader(file)).vmlinux;
}

function unpackPayload(
  file: KernelFile,
  decompressor: Decompressor,
  header: SetupHeader,
): { vmlinux: Uint8Array; format: string } {
  const { payload } = header;
  if (isElf(payload)) return { vmlinux: payload, format: 'uncompressed' };
  const format = detectCompression(payload);
  if (format === undefined || !decompressor.formats.includes(format)) {
    throw new UserError(
      `${file.name} has a payload ${format === undefined ? 'of an unknown format' : `compressed by ${format}`}, ` +
        `and Bulkhead unpacks ${decompressor.formats.join(', ')}`,
    );
  }
  const sizeOffset = payload.length - PAYLOAD_SIZE_BYTES;
  const sizeBytes = new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getUint32(sizeOffset, true);
  // The kernel's own decompressor unpacks within init_size, so a larger size is a lie, and a costly one.
  if (sizeBytes > header.initBytes) {
    throw file.damaged(`its payload announces ${sizeBytes} bytes, more than the init_size of ${header.initBytes}`);
  }
  const compressed = format === 'gzip' ? payload : payload.subarray(0, sizeOffset);
  let vmlinux: Uint8Array;
  try {
    vmlinux = decompressor.decompress(format, compressed, sizeBytes);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(`${file.name} is damaged: its ${format} payload does not unpack: ${reason}`, { cause: error });
  }
  if (!isElf(vmlinux)) throw file.damaged('its payload is no ELF kernel');
  return { vmlinux, format };
}
