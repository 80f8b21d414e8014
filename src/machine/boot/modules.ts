// Boot modules of PVH and Multiboot kernels: each on pages of its own, from the end of the kernel upwards, where
// kernels that map little memory at first reach them.

import type { BootRequest } from './boot-request.ts';
import { type BootSpace, PAGE_BYTES } from './boot-space.ts';
import { HIGH_MEMORY_GUEST_PHYSICAL } from './memory-map.ts';

export interface PlacedModule {
  guestPhysical: number;
  sizeBytes: number;
  commandLine: string | undefined;
}

/** Writes every module of the request behind `kernelEnd`. Throws UserError when RAM ends first. */
export function placeModules(request: BootRequest, space: BootSpace, kernelEnd: number): PlacedModule[] {
  const from = Math.max(kernelEnd, HIGH_MEMORY_GUEST_PHYSICAL);
  return request.modules.map(({ bytes, commandLine }) => {
    const guestPhysical = space.placeLow(bytes.length, PAGE_BYTES, from, 'a module');
    request.memory.write(guestPhysical, bytes);
    return { guestPhysical, sizeBytes: bytes.length, commandLine };
  });
}
