import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { boot } from '../../src/machine/boot/testing/boot.ts';
import { ram } from '../../src/machine/boot/testing/kernel-builder.ts';

const KERNEL_PHYSICAL = 0x1000000;
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'bulkhead', 'images');

describe('a stock kernel', () => {
  for (const [image, compression] of [
    ['debian-12', 'lz4'],
    ['debian-13', 'zstd'],
  ] as const) {
    const path = join(cache, image, 'vmlinuz');
    const skip = existsSync(path) ? false : `${image} has not been made on this host`;
    it(`of ${image} is unpacked from ${compression} and lies where it says`, { skip }, () => {
      const { format, description, state, memory } = boot(readFileSync(path), { memory: ram(128) });
      assert.equal(format, 'linux-bzimage');
      const version = new RegExp(`^Linux (\\S+) \\(bzImage, ${compression}\\)$`).exec(description)?.[1];
      assert.ok(version, description);
      const image = Buffer.from(memory.memory.buffer, KERNEL_PHYSICAL, 64 << 20);
      assert.ok(image.includes(`Linux version ${version} `));
      assert.ok(state.rip >= 0x1000000n && state.rip < 0x1001000n);
    });
  }
});
