// Command lines as kernels read them: bytes of UTF-8 that a zero ends.

import { UserError } from '../../base/errors.ts';

/** Encodes `text` with its zero. Throws UserError when it holds a zero or exceeds `maximumBytes` without it. */
export function encodeCommandLine(text: string, maximumBytes: number, kernelName: string): Uint8Array {
  if (text.includes('\0')) throw new UserError('the kernel command line holds a zero byte');
  const bytes = new TextEncoder().encode(`${text}\0`);
  if (bytes.length - 1 > maximumBytes) {
    throw new UserError(
      `the kernel command line is ${bytes.length - 1} bytes long, and ${kernelName} takes at most ${maximumBytes}`,
    );
  }
  return bytes;
}
