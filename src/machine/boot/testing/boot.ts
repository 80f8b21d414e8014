// Booting test kernels: loadKernel with defaults, and one error expected of it.

import assert from 'node:assert/strict';
import { UserError } from '../../../base/errors.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { nodeDecompressor } from '../../../vm/node-decompressor.ts';
import type { LoadedKernel } from '../boot-request.ts';
import { type LoadKernelOptions, loadKernel } from '../load-kernel.ts';
import { ram } from './kernel-builder.ts';

export type BootOptions = Partial<Omit<LoadKernelOptions, 'kernel'>>;

export function boot(kernel: Uint8Array, options: BootOptions = {}): LoadedKernel & { memory: GuestMemory } {
  const memory = options.memory ?? ram(32);
  const defaults = { initrds: [], commandLine: '', decompressor: nodeDecompressor };
  return { memory, ...loadKernel({ ...defaults, ...options, memory, kernel }) };
}

/** Asserts that the kernel is refused with a UserError of one line that matches. */
export function assertRefused(kernel: Uint8Array, message: RegExp, options: BootOptions = {}): void {
  assert.throws(
    () => boot(kernel, options),
    (error: unknown) => {
      assert.ok(error instanceof UserError, `${error instanceof Error ? error.stack : error}`);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    },
  );
}

/** The zero-terminated string at `guestPhysical`. */
export function stringAt(memory: GuestMemory, guestPhysical: number): string {
  let end = guestPhysical;
  while (memory.readU8(end) !== 0) end++;
  return new TextDecoder().decode(memory.bytes(guestPhysical, end - guestPhysical).slice());
}
