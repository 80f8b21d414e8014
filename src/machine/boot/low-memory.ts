// Where a Linux boot puts its structures below 1 MiB. PVH and Multiboot use the same places, and the next free ones
// where a segment of the kernel lies there.
//
//   0x00400  BIOS data area: only the EBDA's segment (0x40e) and the size of low memory (0x413)
//   0x00500  GDT: null, (unused), code 0x10, data 0x18, TSS 0x20
//   0x01000  PVH: hvm_start_info, module list, memory map   | Multiboot: information structure, module list, map
//   0x07000  Linux: boot_params, the "zero page" (a page)
//   0x09000  Linux: PML4, PDPT, 4 page directories: 4 GiB identity-mapped in pages of 2 MiB (6 pages)
//   0x20000  command line (64 KiB at most); PVH and Multiboot: the strings of modules follow
//   0x9fc00  EBDA; 0xe0000 to 0xfffff: ACPI tables, which src/machine writes
//   0x100000 and up: the kernel at its physical addresses; Linux' initrd as high as it is allowed

import type { BootSpace } from './boot-space.ts';
import { EBDA_GUEST_PHYSICAL, HIGH_MEMORY_GUEST_PHYSICAL } from './memory-map.ts';

export const BIOS_DATA_AREA = 0x400;
export const GDT = 0x500;
export const BOOT_INFORMATION = 0x1000;
export const BOOT_PARAMS = 0x7000;
export const PAGE_TABLES = 0x9000;
export const COMMAND_LINE = 0x20000;
export const COMMAND_LINE_MAX_BYTES = 0x10000;

const EBDA_SEGMENT_OFFSET = 0x0e;
const LOW_MEMORY_KIB_OFFSET = 0x13;

/** Claims what no kernel may cover, and writes the two words of the BIOS data area that name the end of low memory. */
export function claimFirmwareAreas(space: BootSpace): void {
  space.claim(
    EBDA_GUEST_PHYSICAL,
    HIGH_MEMORY_GUEST_PHYSICAL - EBDA_GUEST_PHYSICAL,
    'the area of firmware below 1 MiB',
  );
  space.claim(BIOS_DATA_AREA, 0x100, 'the BIOS data area');
  const { memory } = space;
  memory.writeU16(BIOS_DATA_AREA + EBDA_SEGMENT_OFFSET, EBDA_GUEST_PHYSICAL >> 4);
  memory.writeU16(BIOS_DATA_AREA + LOW_MEMORY_KIB_OFFSET, EBDA_GUEST_PHYSICAL >> 10);
}
