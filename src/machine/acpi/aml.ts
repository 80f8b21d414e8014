// An encoder of ACPI Machine Language (ACPI 6.4 chapter 20), as far as this machine's DSDT speaks it. A term is bytes;
// the functions have the names of ASL's operators.

export type Aml = Uint8Array;

const OP = {
  ZERO: 0x00,
  ONE: 0x01,
  NAME: 0x08,
  BYTE_PREFIX: 0x0a,
  WORD_PREFIX: 0x0b,
  DWORD_PREFIX: 0x0c,
  STRING_PREFIX: 0x0d,
  SCOPE: 0x10,
  BUFFER: 0x11,
  PACKAGE: 0x12,
  DUAL_NAME_PREFIX: 0x2e,
  MULTI_NAME_PREFIX: 0x2f,
  EXTENDED: 0x5b,
  DEVICE: 0x82,
} as const;

export const concat = (...parts: readonly (Aml | readonly number[])[]): Aml =>
  Uint8Array.from(parts.flatMap((part) => [...part]));

const ascii = (text: string): number[] => [...text].map((character) => character.charCodeAt(0));

/** `count` bytes of `value`, the lowest first. */
const littleEndian = (value: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);

/** PkgLength (20.2.4): the length of what follows and of itself. */
function packageLength(contentLength: number): number[] {
  if (contentLength + 1 < 0x40) return [contentLength + 1];
  const extraBytes = contentLength + 2 < 0x1000 ? 1 : contentLength + 3 < 0x100000 ? 2 : 3;
  const length = contentLength + 1 + extraBytes;
  return [(extraBytes << 6) | (length & 0xf), ...littleEndian(length >>> 4, extraBytes)];
}

const sized = (opcode: readonly number[], ...content: readonly (Aml | readonly number[])[]): Aml => {
  const body = concat(...content);
  return concat(opcode, packageLength(body.length), body);
};

/** A NameString such as `\_SB.PCI0` or `_HID`; segments are filled up with underscores. */
function nameString(path: string): number[] {
  const root = path.startsWith('\\') ? ascii('\\') : [];
  const rest = path.slice(root.length);
  const segments = rest === '' ? [] : rest.split('.');
  for (const segment of segments) {
    if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) throw new RangeError(`${path} is no ACPI name`);
  }
  const names = segments.flatMap((segment) => ascii(segment.padEnd(4, '_')));
  if (segments.length === 0) return [...root, 0];
  if (segments.length === 1) return [...root, ...names];
  if (segments.length === 2) return [...root, OP.DUAL_NAME_PREFIX, ...names];
  return [...root, OP.MULTI_NAME_PREFIX, segments.length, ...names];
}

/** An unsigned integer of up to 32 bits. */
export function integer(value: number): Aml {
  if (value === 0) return concat([OP.ZERO]);
  if (value === 1) return concat([OP.ONE]);
  if (value <= 0xff) return concat([OP.BYTE_PREFIX, value]);
  if (value <= 0xffff) return concat([OP.WORD_PREFIX], littleEndian(value, 2));
  return concat([OP.DWORD_PREFIX], littleEndian(value, 4));
}

export const string = (text: string): Aml => concat([OP.STRING_PREFIX], ascii(text), [0]);

export const name = (path: string, object: Aml): Aml => concat([OP.NAME], nameString(path), object);

export const packageOf = (...elements: readonly Aml[]): Aml => sized([OP.PACKAGE], [elements.length], ...elements);

export const buffer = (bytes: Aml): Aml => sized([OP.BUFFER], integer(bytes.length), bytes);

export const scope = (path: string, ...terms: readonly Aml[]): Aml => sized([OP.SCOPE], nameString(path), ...terms);

export const device = (path: string, ...terms: readonly Aml[]): Aml =>
  sized([OP.EXTENDED, OP.DEVICE], nameString(path), ...terms);

/** EISAID (19.3.4): three letters of five bits and four hexadecimal digits, the highest byte first. */
export function eisaId(identity: string): Aml {
  if (!/^[A-Z]{3}[0-9A-F]{4}$/.test(identity)) throw new RangeError(`${identity} is no EISA identity`);
  const [a, b, c] = ascii(identity).map((code) => code - 0x40);
  const vendor = (a! << 10) | (b! << 5) | c!;
  const product = Number.parseInt(identity.slice(3), 16);
  return concat([OP.DWORD_PREFIX, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff]);
}

// --- resource descriptors (ACPI 6.4 section 6.4) ---

/** A _CRS buffer: the descriptors and the end tag. */
export const resourceTemplate = (...descriptors: readonly Aml[]): Aml => buffer(concat(...descriptors, [0x79, 0]));

/** IO (Decode16, first, first, 0, count). */
export const io = (firstPort: number, count: number): Aml =>
  concat([0x47, 0x01], littleEndian(firstPort, 2), littleEndian(firstPort, 2), [0, count]);

/** IRQNoFlags () {irq}: edge-triggered, active high, exclusive. */
export const irqNoFlags = (irq: number): Aml => concat([0x22], littleEndian(1 << irq, 2));

const ADDRESS_SPACE = { MEMORY: 0, IO: 1, BUS_NUMBER: 2 } as const;
/** General flags: minimum and maximum are fixed, positive decode, the device passes the range on to its children. */
const PRODUCER_FIXED = 0x0c;

const addressSpace = (tag: number, width: number, kind: number, flags: number, first: number, last: number): Aml =>
  concat(
    [tag, ...littleEndian(3 + 5 * width, 2), kind, PRODUCER_FIXED, flags],
    ...[0, first, last, 0, last - first + 1].map((value) => littleEndian(value, width)),
  );

/** WordBusNumber of a bridge. */
export const wordBusNumber = (first: number, last: number): Aml =>
  addressSpace(0x88, 2, ADDRESS_SPACE.BUS_NUMBER, 0, first, last);

/** WordIO of a bridge: the entire range, ISA aliases included. */
export const wordIo = (first: number, last: number): Aml => addressSpace(0x88, 2, ADDRESS_SPACE.IO, 3, first, last);

/** DWordMemory of a bridge: non-cacheable, read-write. */
export const dwordMemory = (first: number, last: number): Aml =>
  addressSpace(0x87, 4, ADDRESS_SPACE.MEMORY, 1, first, last);
