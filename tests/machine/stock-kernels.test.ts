import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UserError } from '../../src/base/errors.ts';
import { resolveImage } from '../../src/images/images.ts';
import { boot } from '../../src/machine/boot/testing/boot.ts';
import { ram } from '../../src/machine/boot/testing/kernel-builder.ts';

const KERNEL_PHYSICAL = 0x1000000;

/** The image's kernel, or why this host has none. */
async function cachedKernel(image: string): Promise<Uint8Array | string> {
  try {
    return (await resolveImage(image, { offline: true })).kernel;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

describe('a stock kernel', () => {
  for (const [image, compression] of [
    ['debian:12', 'lz4'],
    ['debian:13', 'zstd'],
  ] as const) {
    it(`of ${image} is unpacked from ${compression} and lies where it says`, async (t) => {
      const kernel = await cachedKernel(image);
      if (typeof kernel === 'string') return t.skip(kernel);
      const { format, description, state, memory } = boot(kernel, { memory: ram(128) });
      assert.equal(format, 'linux-bzimage');
      const version = new RegExp(`^Linux (\\S+) \\(bzImage, ${compression}\\)$`).exec(description)?.[1];
      assert.ok(version, description);
      const place = Buffer.from(memory.memory.buffer, KERNEL_PHYSICAL, 64 << 20);
      assert.ok(place.includes(`Linux version ${version} `));
      assert.ok(state.rip >= 0x1000000n && state.rip < 0x1001000n);
    });
  }
});
