// The header that most ACPI tables have, and their checksum (ACPI 6.4 section 5.2.6).

export const HEADER_SIZE_BYTES = 36;

/** Text in tables is ASCII, of which UTF-8 is an extension. */
export const ASCII = new TextEncoder();

/** What makes the bytes add up to 0. */
export const checksum = (bytes: Uint8Array): number => -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;

/** A table: header and body. */
export function makeTable(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const table = new Uint8Array(HEADER_SIZE_BYTES + body.length);
  const view = new DataView(table.buffer);
  table.set(ASCII.encode(signature), 0);
  view.setUint32(4, table.length, true);
  table[8] = revision;
  table.set(ASCII.encode('BLKHD '), 10);
  table.set(ASCII.encode('BULKHEAD'), 16);
  view.setUint32(24, 1, true);
  table.set(ASCII.encode('BLKH'), 28);
  view.setUint32(32, 1, true);
  table.set(body, HEADER_SIZE_BYTES);
  table[9] = checksum(table);
  return table;
}
