// Busybox's hashes of a file in memory.

import { createHash } from 'node:crypto';
import type { Mode, Row } from './row.ts';

const MEBIBYTES = { quick: 4, standard: 16, full: 64 };

export function hashRows(mode: Mode): Row[] {
  const mebibytes = MEBIBYTES[mode];
  return ['sha256', 'md5'].map((algorithm) => ({
    name: algorithm,
    summary: `busybox ${algorithm}sum of ${mebibytes} MiB in memory`,
    setUp: `[ -f /tmp/zeros ] || dd if=/dev/zero of=/tmp/zeros bs=64k count=${mebibytes * 16} 2>/dev/null`,
    work: `${algorithm}sum /tmp/zeros`,
    expected: `${hashOfZeros(algorithm, mebibytes)}  /tmp/zeros`,
  }));
}

function hashOfZeros(algorithm: string, mebibytes: number): string {
  const mebibyte = new Uint8Array(1024 * 1024);
  const hash = createHash(algorithm);
  for (let i = 0; i < mebibytes; i++) hash.update(mebibyte);
  return hash.digest('hex');
}
