// Linux' boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst, boot.rst): built as bytes, written by the
// loader. Fields keep the documentation's names.

import type { MemoryRange } from './memory-map.ts';

export const BOOT_PARAMS_BYTES = 4096;

/** The setup header's place, the same in a bzImage and in boot_params. */
export const SETUP_HEADER = 0x1f1;
/** The header ends before edd_mbr_sig_buffer. */
export const SETUP_HEADER_END_MAX = 0x290;

export const HEADER_MAGIC = 0x53726448; // "HdrS"
export const BOOT_FLAG = 0xaa55;

/** Offsets of the fields that are read or written here. */
export const FIELD = {
  acpi_rsdp_addr: 0x070,
  ext_ramdisk_image: 0x0c0,
  ext_ramdisk_size: 0x0c4,
  ext_cmd_line_ptr: 0x0c8,
  e820_entries: 0x1e8,
  setup_sects: 0x1f1,
  vid_mode: 0x1fa,
  boot_flag: 0x1fe,
  jump: 0x200,
  header: 0x202,
  version: 0x206,
  kernel_version: 0x20e,
  type_of_loader: 0x210,
  loadflags: 0x211,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  payload_offset: 0x248,
  payload_length: 0x24c,
  setup_data: 0x250,
  pref_address: 0x258,
  init_size: 0x260,
  e820_table: 0x2d0,
} as const;

export const LOADFLAGS = { LOADED_HIGH: 0x01, KASLR_FLAG: 0x02 } as const;
export const XLF_KERNEL_64 = 0x0001;

const LOADER_TYPE_UNDEFINED = 0xff;
const VIDEO_MODE_NORMAL = 0xffff;
const E820_ENTRY_BYTES = 20;
const E820_MAX_ENTRIES_ZEROPAGE = 128;

export interface BootParams {
  /** The kernel's own setup header, the bytes from SETUP_HEADER on. */
  setupHeader: Uint8Array;
  memoryMap: readonly MemoryRange[];
  commandLineGuestPhysical: number;
  /** Size 0: no initrd. */
  initrd: { guestPhysical: number; sizeBytes: number };
  rsdpGuestPhysical: number | undefined;
}

/** The page for a kernel that is entered at its vmlinux: without KASLR, since nothing of the decompressor runs. */
export function buildBootParams(params: BootParams): Uint8Array {
  if (params.memoryMap.length > E820_MAX_ENTRIES_ZEROPAGE) throw new RangeError('the memory map is too long');
  const page = new Uint8Array(BOOT_PARAMS_BYTES);
  const view = new DataView(page.buffer);
  page.set(params.setupHeader, SETUP_HEADER);

  view.setUint16(FIELD.vid_mode, VIDEO_MODE_NORMAL, true);
  view.setUint8(FIELD.type_of_loader, LOADER_TYPE_UNDEFINED);
  const loadflags = view.getUint8(FIELD.loadflags);
  view.setUint8(FIELD.loadflags, (loadflags | LOADFLAGS.LOADED_HIGH) & ~LOADFLAGS.KASLR_FLAG);
  view.setBigUint64(FIELD.setup_data, 0n, true);

  setSplit(view, FIELD.cmd_line_ptr, FIELD.ext_cmd_line_ptr, params.commandLineGuestPhysical);
  setSplit(view, FIELD.ramdisk_image, FIELD.ext_ramdisk_image, params.initrd.guestPhysical);
  setSplit(view, FIELD.ramdisk_size, FIELD.ext_ramdisk_size, params.initrd.sizeBytes);
  view.setBigUint64(FIELD.acpi_rsdp_addr, BigInt(params.rsdpGuestPhysical ?? 0), true);

  view.setUint8(FIELD.e820_entries, params.memoryMap.length);
  for (const [index, range] of params.memoryMap.entries()) {
    const entry = FIELD.e820_table + index * E820_ENTRY_BYTES;
    view.setBigUint64(entry, BigInt(range.guestPhysical), true);
    view.setBigUint64(entry + 8, BigInt(range.sizeBytes), true);
    view.setUint32(entry + 16, range.type, true);
  }
  return page;
}

/** A setup header for a vmlinux, which has none: what the kernel reads of it when it is entered directly. */
export function synthesizeSetupHeader(): Uint8Array {
  const page = new Uint8Array(SETUP_HEADER_END_MAX);
  const view = new DataView(page.buffer);
  view.setUint16(FIELD.boot_flag, BOOT_FLAG, true);
  view.setUint32(FIELD.header, HEADER_MAGIC, true);
  view.setUint16(FIELD.version, 0x20f, true);
  view.setUint8(FIELD.loadflags, LOADFLAGS.LOADED_HIGH);
  view.setUint16(FIELD.xloadflags, XLF_KERNEL_64, true);
  return page.subarray(SETUP_HEADER);
}

/** Writes the low and the high half of a value to the two fields that hold them. */
function setSplit(view: DataView, low: number, high: number, value: number): void {
  view.setUint32(low, value >>> 0, true);
  view.setUint32(high, Math.floor(value / 2 ** 32), true);
}
