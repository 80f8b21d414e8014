// Reader of Unix ar archives, the outer layer of a .deb: deb(5), with the common ar format of ar(5).
// Holds short names only: a Debian package has no others.

import { UserError } from '../base/errors.ts';

export interface ArMember {
  name: string;
  data: Uint8Array;
}

const MAGIC = '!<arch>\n';
const HEADER_BYTES = 60;
const HEADER_END = '`\n';

/** The members of an archive, in order, as views of its bytes. Throws a UserError for what is no whole archive. */
export function* readAr(archive: Uint8Array): Generator<ArMember> {
  if (latin1(archive, 0, MAGIC.length) !== MAGIC) throw new UserError('not an ar archive: its magic is missing');
  let offset = MAGIC.length;
  while (offset < archive.length) {
    const header = latin1(archive, offset, HEADER_BYTES);
    const size = header.slice(48, 58).trimEnd();
    if (header.length < HEADER_BYTES || header.slice(58) !== HEADER_END || !/^\d+$/.test(size)) {
      throw new UserError(`the ar archive is damaged at byte ${offset}: no member header`);
    }
    const start = offset + HEADER_BYTES;
    const end = start + Number(size);
    if (end > archive.length) throw new UserError(`the ar archive is cut short: ${end - archive.length} bytes missing`);
    // GNU ar ends a name with a slash, dpkg does not.
    yield { name: header.slice(0, 16).trimEnd().replace(/\/$/, ''), data: archive.subarray(start, end) };
    offset = end + (end & 1);
  }
}

function latin1(bytes: Uint8Array, offset: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(offset, offset + length));
}
