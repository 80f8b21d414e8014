// C structures as data: a declaration in the order of the header gives every member's offset, by the rules of the
// x86-64 System V ABI (natural alignment, tail padding). Members are named by path: `io.port`, `channels[0].count`.

const SCALARS = { u8: 1, s8: 1, u16: 2, u32: 4, s32: 4, u64: 8, s64: 8 } as const;
export type Scalar = keyof typeof SCALARS;

/** A member: a scalar, an array of them, a structure, an array of structures. */
export type Member = Scalar | StructLayout | readonly [Scalar | StructLayout, number];

export interface Field {
  readonly offset: number;
  readonly sizeBytes: number;
  /** Of the member itself or of its elements; undefined where that is a structure. */
  readonly scalar: Scalar | undefined;
}

export interface StructLayout {
  /** As the header calls it, without `struct`; '' for one without a name. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly alignBytes: number;
  /** Every member by its path, those of members included. */
  readonly fields: ReadonlyMap<string, Field>;
}

/** Keys that begin with this are anonymous in the header: their members count as the structure's own. */
const ANONYMOUS = '$';

const isScalar = (member: Member): member is Scalar => typeof member === 'string';
const isArray = (member: Member): member is readonly [Scalar | StructLayout, number] => Array.isArray(member);

function alignOf(member: Member): number {
  if (isScalar(member)) return SCALARS[member];
  return isArray(member) ? alignOf(member[0]) : member.alignBytes;
}

function sizeOf(member: Member): number {
  if (isScalar(member)) return SCALARS[member];
  return isArray(member) ? sizeOf(member[0]) * member[1] : member.sizeBytes;
}

const alignUp = (offset: number, alignBytes: number): number => Math.ceil(offset / alignBytes) * alignBytes;

function addFields(fields: Map<string, Field>, path: string, offset: number, member: Member): void {
  const anonymous = path.startsWith(ANONYMOUS);
  if (!anonymous) {
    const element = isArray(member) ? member[0] : member;
    fields.set(path, { offset, sizeBytes: sizeOf(member), scalar: isScalar(element) ? element : undefined });
  }
  if (isScalar(member)) return;
  if (isArray(member)) {
    const [element, count] = member;
    if (isScalar(element)) return;
    for (let i = 0; i < count; i++) addFields(fields, `${path}[${i}]`, offset + i * element.sizeBytes, element);
    return;
  }
  for (const [inner, field] of member.fields) {
    fields.set(anonymous ? inner : `${path}.${inner}`, { ...field, offset: offset + field.offset });
  }
}

function layOut(name: string, members: Readonly<Record<string, Member>>, overlaid: boolean): StructLayout {
  const fields = new Map<string, Field>();
  let [end, alignBytes] = [0, 1];
  for (const [path, member] of Object.entries(members)) {
    const offset = overlaid ? 0 : alignUp(end, alignOf(member));
    addFields(fields, path, offset, member);
    end = Math.max(end, offset + sizeOf(member));
    alignBytes = Math.max(alignBytes, alignOf(member));
  }
  return { name, sizeBytes: alignUp(end, alignBytes), alignBytes, fields };
}

/** A structure whose members follow each other. A key that begins with `$` is an anonymous member. */
export function struct(name: string, members: Readonly<Record<string, Member>>): StructLayout {
  return layOut(name, members, false);
}

/** Members that lie over each other. */
export function union(members: Readonly<Record<string, Member>>): StructLayout {
  return layOut('', members, true);
}

/** Offset of a member. Throws RangeError for a path that the layout does not have. */
export function offsetOf(layout: StructLayout, path: string): number {
  return fieldOf(layout, path).offset;
}

export function fieldOf(layout: StructLayout, path: string): Field {
  const field = layout.fields.get(path);
  if (field === undefined) throw new RangeError(`struct ${layout.name} has no member ${path}`);
  return field;
}

/** Bytes laid out as a structure, for what is not frequent: members by path. */
export class StructBuffer {
  readonly layout: StructLayout;
  readonly bytes: Uint8Array;
  private readonly view: DataView;

  /** On `bytes`, or on zeroed ones of its own; `extraBytes` more for a flexible array behind the structure. */
  constructor(layout: StructLayout, bytes: Uint8Array | number = 0) {
    this.layout = layout;
    this.bytes = typeof bytes === 'number' ? new Uint8Array(layout.sizeBytes + bytes) : bytes;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  /** A member of at most 32 bits; of an array its element `index`. */
  get(path: string, index = 0): number {
    const { offset, scalar } = fieldOf(this.layout, path);
    switch (scalar) {
      case 'u8':
        return this.view.getUint8(offset + index);
      case 's8':
        return this.view.getInt8(offset + index);
      case 'u16':
        return this.view.getUint16(offset + index * 2, true);
      case 'u32':
        return this.view.getUint32(offset + index * 4, true);
      case 's32':
        return this.view.getInt32(offset + index * 4, true);
      default:
        throw new RangeError(`${this.layout.name}.${path} is no number of 32 bits`);
    }
  }

  set(path: string, value: number, index = 0): void {
    const { offset, scalar } = fieldOf(this.layout, path);
    switch (scalar) {
      case 'u8':
      case 's8':
        this.view.setUint8(offset + index, value);
        return;
      case 'u16':
        this.view.setUint16(offset + index * 2, value, true);
        return;
      case 'u32':
      case 's32':
        this.view.setUint32(offset + index * 4, value, true);
        return;
      default:
        throw new RangeError(`${this.layout.name}.${path} is no number of 32 bits`);
    }
  }

  /** A member of 64 bits, unsigned; s64 as its two's complement. */
  get64(path: string, index = 0): bigint {
    return this.view.getBigUint64(this.offset64(path, index), true);
  }

  set64(path: string, value: bigint, index = 0): void {
    this.view.setBigUint64(this.offset64(path, index), BigInt.asUintN(64, value), true);
  }

  /** The bytes of a member, live. */
  slice(path: string): Uint8Array {
    const { offset, sizeBytes } = fieldOf(this.layout, path);
    return this.bytes.subarray(offset, offset + sizeBytes);
  }

  private offset64(path: string, index: number): number {
    const { offset, scalar } = fieldOf(this.layout, path);
    if (scalar !== 'u64' && scalar !== 's64') throw new RangeError(`${this.layout.name}.${path} has no 64 bits`);
    return offset + index * 8;
  }
}
