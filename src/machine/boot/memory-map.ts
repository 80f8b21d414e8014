// The memory map that every boot protocol hands to the kernel, in E820 terms (ACPI 6.4, section 15).
//
//   0x00000000  RAM, to the EBDA
//   0x0009fc00  reserved: EBDA (1 KiB)
//   0x000a0000  not listed: the VGA window
//   0x000e0000  reserved: ACPI tables and where firmware would lie
//   0x00100000  RAM, to the end

export const MEMORY_TYPE = { RAM: 1, RESERVED: 2, ACPI: 3, NVS: 4 } as const;
export type MemoryType = (typeof MEMORY_TYPE)[keyof typeof MEMORY_TYPE];

export interface MemoryRange {
  guestPhysical: number;
  sizeBytes: number;
  type: MemoryType;
}

export const EBDA_GUEST_PHYSICAL = 0x9fc00;
export const VGA_WINDOW_GUEST_PHYSICAL = 0xa0000;
export const FIRMWARE_GUEST_PHYSICAL = 0xe0000;
export const HIGH_MEMORY_GUEST_PHYSICAL = 0x100000;

/**
 * The map of a machine with `ramBytes` of RAM (1 MiB at least) and `reservedRanges` outside RAM that are neither RAM
 * nor free for devices, such as the PCI Express configuration window. Sorted by address.
 */
export function buildMemoryMap(ramBytes: number, reservedRanges: readonly Omit<MemoryRange, 'type'>[]): MemoryRange[] {
  const range = (start: number, end: number, type: MemoryType): MemoryRange => ({
    guestPhysical: start,
    sizeBytes: end - start,
    type,
  });
  const inRam = reservedRanges.find((reserved) => reserved.guestPhysical < ramBytes);
  if (inRam !== undefined) throw new RangeError(`reserved range 0x${inRam.guestPhysical.toString(16)} lies in RAM`);
  return [
    range(0, EBDA_GUEST_PHYSICAL, MEMORY_TYPE.RAM),
    range(EBDA_GUEST_PHYSICAL, VGA_WINDOW_GUEST_PHYSICAL, MEMORY_TYPE.RESERVED),
    range(FIRMWARE_GUEST_PHYSICAL, HIGH_MEMORY_GUEST_PHYSICAL, MEMORY_TYPE.RESERVED),
    range(HIGH_MEMORY_GUEST_PHYSICAL, ramBytes, MEMORY_TYPE.RAM),
    ...reservedRanges.map((reserved) => ({ ...reserved, type: MEMORY_TYPE.RESERVED })),
  ]
    .filter(({ sizeBytes }) => sizeBytes > 0)
    .sort((left, right) => left.guestPhysical - right.guestPhysical);
}
