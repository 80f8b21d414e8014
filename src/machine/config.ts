// What a machine is made from, checked on the way in: the values come from another thread or, later, from another host.

import { z } from 'zod';
import { MAXIMUM_RAM_BYTES } from '../engine/software/layout.ts';

const MIB = 1024 * 1024;

/** Linux unpacks itself into some 70 MiB. */
export const MINIMUM_RAM_BYTES = 64 * MIB;
export { MAXIMUM_RAM_BYTES };
export const DEFAULT_RAM_BYTES = 256 * MIB;
/** Less would be thrown away as soon as it is made. */
export const MINIMUM_CODE_CACHE_BYTES = 4 * MIB;
export const DEFAULT_CODE_CACHE_BYTES = 256 * MIB;
/** RAM is a whole number of these. */
export const RAM_GRANULE_BYTES = MIB;

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'not bytes');

export const machineConfigSchema = z.strictObject({
  memoryBytes: z.int().min(MINIMUM_RAM_BYTES).max(MAXIMUM_RAM_BYTES).multipleOf(RAM_GRANULE_BYTES),
  kernel: bytes,
  /** What messages call the kernel, such as its path. */
  kernelName: z.string(),
  /** Linux: archives that become one initramfs. Other kernels: modules, each with its command line. */
  initrds: z.array(z.strictObject({ bytes, commandLine: z.string().optional() })),
  commandLine: z.string(),
  /** How many of COM1 to COM4 there are. */
  serialPorts: z.int().min(1).max(4),
  /** A write of v to this port ends the machine with status (v << 1) | 1. */
  debugExitPort: z.int().min(0).max(0xfffc).optional(),
  /** Machine code of translated regions to be kept at most, as an estimate. */
  codeCacheBytes: z.int().min(MINIMUM_CODE_CACHE_BYTES).optional(),
  /** Whether a reset by the guest starts it anew, or ends the run. */
  reboot: z.boolean(),
});

export type MachineConfig = z.infer<typeof machineConfigSchema>;
