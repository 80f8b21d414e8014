// Hashes and compression of a text in memory: busybox's, and Debian's xz.

import { createHash } from 'node:crypto';
import type { GuestProgram } from '../guest-programs.ts';
import type { HostOutput, Mode, Row } from './row.ts';

const HASHED_BYTES = { quick: 4 << 20, short: 16 << 20, standard: 64 << 20 };
const GZIP_BYTES = { quick: 256 << 10, short: 2 << 20, standard: 8 << 20 };
const XZ_BYTES = { quick: 128 << 10, short: 512 << 10, standard: 8 << 20 };

export function hashRows(mode: Mode): Row[] {
  return [
    hashRow('sha256', HASHED_BYTES[mode]),
    hashRow('md5', HASHED_BYTES[mode]),
    compressionRow('gzip', GZIP_BYTES[mode], 'busybox gzip -9 and back', 'gzip -9', 'gunzip'),
    // By its path: the shell would take busybox's own, which only unpacks.
    {
      ...compressionRow('xz', XZ_BYTES[mode], 'xz and back', '/usr/bin/xz -T1', '/usr/bin/xz -d'),
      packages: ['xz-utils'],
    },
  ];
}

function hashRow(algorithm: string, bytes: number): Row {
  const text = textOf(bytes);
  return {
    name: algorithm,
    group: 'hash',
    summary: `busybox ${algorithm}sum of ${size(bytes)} in memory`,
    programs: [text],
    setUp: setUp(text),
    work: `${algorithm}sum /tmp/text`,
    cleanUp: 'rm /tmp/text',
    expected: async (hostOutput) => `${await hashOf(algorithm, text, hostOutput)}  /tmp/text`,
  };
}

/** The work tells whether the packed file is less than half as long, and the hash of what comes back. */
function compressionRow(name: string, bytes: number, summary: string, pack: string, unpack: string): Row {
  const text = textOf(bytes);
  return {
    name,
    group: 'hash',
    summary: `${summary}, ${size(bytes)} in memory`,
    programs: [text],
    setUp: setUp(text),
    work: `${pack} </tmp/text >/tmp/packed
${unpack} </tmp/packed >/tmp/unpacked
[ $(stat -c %s /tmp/packed) -lt ${bytes >> 1} ] && echo packed
md5sum </tmp/unpacked`,
    cleanUp: 'rm /tmp/text /tmp/packed /tmp/unpacked',
    expected: async (hostOutput) => `packed\n${await hashOf('md5', text, hostOutput)}  -`,
  };
}

function textOf(bytes: number): GuestProgram {
  return { source: 'text', name: `text-${bytes}`, defines: { BYTES: bytes } };
}

function setUp(text: GuestProgram): string {
  return `/bench/${text.name} >/tmp/text`;
}

async function hashOf(algorithm: string, text: GuestProgram, hostOutput: HostOutput): Promise<string> {
  return createHash(algorithm)
    .update(await hostOutput(text))
    .digest('hex');
}

function size(bytes: number): string {
  return bytes < 1 << 20 ? `${bytes >> 10} KiB` : `${bytes >> 20} MiB`;
}
