// The applet names of a busybox binary, read from the binary itself, so that nothing has to run it on the host.
// Busybox keeps them in .rodata as one table: NUL-ended names in ascending order, closed by an empty name.

import { UserError } from '../base/errors.ts';

const APPLET_NAME = /^[A-Za-z0-9[][A-Za-z0-9._+[-]*$/;
/** Every full busybox has `[` and `[[` first (they sort before letters) and far more applets than this. */
const TABLE_START = '[\0[[\0';
const MIN_APPLETS = 100;

/** The applets in the table's order. Throws a UserError where there is no table. */
export function listApplets(busybox: Uint8Array): string[] {
  const bytes = Buffer.from(busybox.buffer, busybox.byteOffset, busybox.byteLength);
  for (let at = bytes.indexOf(TABLE_START); at >= 0; at = bytes.indexOf(TABLE_START, at + 1)) {
    const names = readNames(bytes, at);
    if (names.length >= MIN_APPLETS) return names;
  }
  throw new UserError('the busybox of this package has no applet table that Bulkhead knows');
}

function readNames(bytes: Buffer, start: number): string[] {
  const names: string[] = [];
  for (let offset = start; ; ) {
    const end = bytes.indexOf(0, offset);
    const name = bytes.toString('latin1', offset, end);
    const previous = names.at(-1);
    if (end < 0 || !APPLET_NAME.test(name) || (previous !== undefined && name <= previous)) return names;
    names.push(name);
    offset = end + 1;
  }
}
