// A body as text, for people: one statement a line, pure expressions where they are used if that is once. Values are
// numbered in the order in which they are printed, so that a constant more or less does not rename the others.

import {
  GPR_NAMES_8,
  GPR_NAMES_16,
  GPR_NAMES_32,
  GPR_NAMES_64,
  GPR_NAMES_HIGH_BYTE,
  SEGMENT_REGISTER_NAMES,
} from '../isa/registers.ts';
import { ALIGNED_16, type Builder, type Location, type MemoryLift, type Statement, type Value } from './builder.ts';
import { SEGMENT_OFFSET, SEGMENT_STRIDE, X87_OFFSET, XMM_OFFSET } from './guest-state.ts';

const PURE_KINDS: ReadonlySet<string> = new Set(['pure', 'select', 'lane', 'replace-lane', 'shuffle']);

/** Reads that an emitter leaves out when nobody uses them. */
const READ_KINDS: ReadonlySet<string> = new Set([
  'get-register',
  'get-vector',
  'get-field',
  'get-variable',
  'scratch-get',
  'location',
  'immediate',
  'next-rip',
  'return-target',
  'target',
  'offset',
  'carry-word',
]);

const hex = (value: number | bigint): string => `${value < 0 ? '-' : ''}0x${(value < 0 ? -value : value).toString(16)}`;

/** What may be long is hexadecimal. */
const numberText = (value: number | bigint): string => {
  const signed = typeof value === 'bigint' ? BigInt.asIntN(64, value) : value;
  if (!Number.isInteger(Number(signed))) return String(value);
  if (Object.is(value, -0)) return '-0';
  return signed > -10 && signed < 10 ? String(signed) : hex(signed);
};

/** A place in code, relative to the region's page. */
const offsetText = (offset: number): string => (offset < 0 ? `page-${hex(-offset)}` : `page+${hex(offset)}`);

function registerText(location: Location, sizeBytes: number): string {
  if (location.kind === 'slot') return `[${location.slot}]:${sizeBytes}`;
  const { offset } = location;
  const index = offset >> 3;
  if (offset < 128) {
    if ((offset & 7) !== 0) return GPR_NAMES_HIGH_BYTE[index] ?? `state+${hex(offset)}`;
    const names = { 1: GPR_NAMES_8, 2: GPR_NAMES_16, 4: GPR_NAMES_32, 8: GPR_NAMES_64 }[sizeBytes];
    return names?.[index] ?? `${GPR_NAMES_64[index]}:${sizeBytes}`;
  }
  if (offset >= XMM_OFFSET && offset < XMM_OFFSET + 256) return vectorText(offset, XMM_OFFSET, 'xmm', sizeBytes);
  if (offset >= X87_OFFSET && offset < X87_OFFSET + 128) return vectorText(offset, X87_OFFSET, 'mm', sizeBytes);
  return `state+${hex(offset)}:${sizeBytes}`;
}

function vectorText(offset: number, first: number, name: string, sizeBytes: number): string {
  const part = (offset - first) & 15;
  return `${name}${(offset - first) >> 4}${part === 0 ? '' : `+${part}`}${sizeBytes === 16 ? '' : `:${sizeBytes}`}`;
}

function memoryText({ shape, place }: MemoryLift): string {
  if (place === undefined) return `[${shape}]`;
  const { base, index, scaleShift, displacement, ripRelative, segment } = place;
  const terms: string[] = [];
  if (ripRelative) terms.push('page');
  if (base >= 0) terms.push(GPR_NAMES_64[base]!);
  if (index >= 0) terms.push(`${GPR_NAMES_64[index]}${scaleShift > 0 ? `*${1 << scaleShift}` : ''}`);
  let text = terms.join('+');
  const signed = BigInt.asIntN(64, displacement);
  if (text === '' || signed > 0n) text += `${text === '' ? '' : '+'}${numberText(signed)}`;
  else if (signed < 0n) text += numberText(signed);
  if (segment === undefined) return `[${text}]`;
  return `[${SEGMENT_REGISTER_NAMES[(segment - SEGMENT_OFFSET) / SEGMENT_STRIDE]}:${text}]`;
}

class BodyPrinter {
  readonly lines: string[] = [];
  private readonly numbers = new Map<number, string>();

  statements(statements: readonly Statement[], indent: string): void {
    for (const statement of statements) this.statement(statement, indent);
  }

  private statement(value: Statement, indent: string): void {
    const { kind } = value;
    if ((PURE_KINDS.has(kind) || READ_KINDS.has(kind)) && value.uses === 0) return;
    if (PURE_KINDS.has(kind) && value.uses === 1) return;
    const text = this.text(value);
    if (value.type !== 'none' && (value.uses > 0 || kind !== 'call')) {
      const name = `%${this.numbers.size}`;
      this.numbers.set(value.id, name);
      this.lines.push(`${indent}${name} = ${text}`);
    } else {
      // What belongs to an instruction is indented under it.
      this.lines.push(kind === 'instruction' ? text : `${indent}${text}`);
    }
    if (kind !== 'if') return;
    this.statements(value.whenTrue!, `${indent}  `);
    if (value.whenFalse!.length === 0) return;
    this.lines.push(`${indent}else`);
    this.statements(value.whenFalse!, `${indent}  `);
  }

  private operand(value: Value): string {
    return this.numbers.get(value.id) ?? this.text(value);
  }

  private operands(values: readonly Value[]): string {
    return values.map((value) => this.operand(value)).join(', ');
  }

  private text(value: Value): string {
    const { kind, name, args, size, location, memory, constant } = value;
    const [first, second] = args as [Value, Value];
    switch (kind) {
      case 'const':
        if (constant instanceof Uint8Array) return `v128:${vectorConstant(constant)}`;
        return `${numberText(constant as number | bigint)}${value.type === 'i64' ? '' : `:${value.type}`}`;
      case 'pure':
        return `${name}(${this.operands(args)})`;
      case 'select':
        return `select(${this.operands(args)})`;
      case 'lane':
      case 'replace-lane':
        return `${name}[${size}](${this.operands(args)})`;
      case 'shuffle':
        return `i8x16.shuffle[${value.lanes!.join(' ')}](${this.operands(args)})`;
      case 'get-variable':
        return `get-variable ${value.variable!.id}`;
      case 'set-variable':
        return `set-variable ${value.variable!.id} = ${this.operand(first)}`;
      case 'get-register':
        return `get-register ${registerText(location!, size!)}`;
      case 'set-register':
        return `set-register ${registerText(location!, size!)} = ${this.operand(first)}`;
      case 'get-vector':
        return `get-vector ${registerText(location!, 16)}`;
      case 'set-vector':
        return `set-vector ${registerText(location!, 16)} = ${this.operand(first)}`;
      case 'location':
        return `location ${location!.kind === 'slot' ? location!.slot : location!.offset}`;
      case 'immediate':
        return `immediate ${value.immediate}`;
      case 'offset':
        return `offset ${memoryText(memory!)}`;
      case 'address': {
        const bytes = size === ALIGNED_16 ? '16 aligned' : size;
        const distance = args.length > 0 ? ` + ${this.operand(first)}` : '';
        return `address ${memoryText(memory!)}${distance} for ${value.write === true ? 'writing' : 'reading'} ${bytes}`;
      }
      case 'get-field':
        return `get-field ${name}`;
      case 'set-field':
        return `set-field ${name} = ${this.operand(first)}`;
      case 'scratch-get':
        return `scratch-get ${size}`;
      case 'scratch-set':
        return `scratch-set ${size} = ${this.operand(first)}`;
      case 'load':
      case 'modify-load':
        return `${kind} ${size} (${this.operand(first)})`;
      case 'store':
        return `store ${size} (${this.operand(first)}) = ${this.operand(second)}`;
      case 'load-vector':
        return `load-vector (${this.operand(first)})`;
      case 'store-vector':
        return `store-vector (${this.operand(first)}) = ${this.operand(second)}`;
      case 'modify-store': {
        const how = value.lock === true ? `${size} locked` : `${size}`;
        const [old, address, changed] = args.map((argument) => this.operand(argument));
        return `modify-store ${how} (${address}) = ${changed} was ${old}`;
      }
      case 'call':
        return `call ${name}(${this.operands(args)})`;
      case 'next-rip':
      case 'return-target':
      case 'next-record':
      case 'new-flags':
      case 'carry-word':
      case 'target':
      case 'again':
      case 'leave':
      case 'leave-next':
        return kind;
      case 'instruction':
        return instructionText(value);
      case 'set-flags':
        return `set-flags ${name} ${size} (${this.operands(args)})`;
      case 'set-carry-word':
        return `set-carry-word ${this.operand(first)}`;
      case 'if':
        return `if ${this.operand(first)}`;
      case 'jump-direct':
        return name === undefined ? kind : `${kind} ${name}`;
      case 'jump':
        return `${name === undefined ? kind : `${kind} ${name}`} ${this.operand(first)}`;
      default: {
        const unknown: never = kind;
        throw new Error(`no statement: ${unknown}`);
      }
    }
  }
}

function instructionText({ size, constant, target, landings, name }: Value): string {
  const words = [`instruction ${offsetText(size!)} to ${offsetText(constant as number)}`];
  if (name !== undefined) words.push(name);
  if (target !== undefined) words.push(`target ${offsetText(target)}`);
  if (landings!.length > 0) words.push(`landings ${landings!.map(offsetText).join(' ')}`);
  return words.join(', ');
}

/** Two lanes of 64 bits, the low one first. */
function vectorConstant(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  return `${hex(view.getBigUint64(0, true))}:${hex(view.getBigUint64(8, true))}`;
}

/** A body's statements, a line each, without a newline at the end. Unused values that an emitter drops are left out. */
export function printBody(body: Builder): string {
  const printer = new BodyPrinter();
  printer.statements(body.body, '  ');
  return printer.lines.join('\n');
}
