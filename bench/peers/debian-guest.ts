// What the 64-bit peers boot: the kernel of Bulkhead's own image, and its initramfs with the rows' files behind it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type GuestImage, resolveImage } from '../../src/images/images.ts';
import { createOverlay, type OverlayFile } from '../../src/images/overlay.ts';

const IMAGE = 'debian';

export function debianImage(): Promise<GuestImage> {
  return resolveImage(IMAGE);
}

/** The path of the initramfs. */
export function writeInitrd(image: GuestImage, files: readonly OverlayFile[], folder: string): string {
  const path = join(folder, 'initrd.cpio');
  writeFileSync(path, Buffer.concat([image.initrd, createOverlay({ files })]));
  return path;
}
