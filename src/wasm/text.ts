// A disassembled function as WebAssembly text (core specification 2.0, chapter 6), folded: one statement a line, broken
// where it is too long. Two liberties: alignment is told only where it is a promise, and labels are named by how deep
// they lie, so that a change elsewhere does not rename them.

import type { Expression, ModuleFunction } from './disassembler.ts';

const MAXIMUM_WIDTH = 110;

export interface TextNames {
  /** Name of a function, `$` aside; else its index stands. */
  readonly functionName?: (index: number) => string | undefined;
  readonly localName?: (index: number) => string | undefined;
  /** What lies where a memory instruction reads or writes: a comment behind its offset. */
  readonly placeName?: (expression: Expression) => string | undefined;
}

class TextPrinter {
  readonly lines: string[] = [];
  private readonly names: TextNames;
  /** Kinds of the structures around, outermost first. */
  private readonly open: string[] = [];

  constructor(names: TextNames) {
    this.names = names;
  }

  sequence(body: readonly Expression[], indent: string): void {
    for (const expression of body) this.statement(expression, indent);
  }

  private statement(expression: Expression, indent: string): void {
    const { lines } = this;
    if (expression.body === undefined && !hasBody(expression)) {
      const whole = this.inline(expression);
      if (indent.length + whole.length <= MAXIMUM_WIDTH) {
        lines.push(indent + whole);
        return;
      }
    }
    const inner = `${indent}  `;
    lines.push(`${indent}(${this.head(expression)}`);
    // A condition stands on the line of its if where there is room.
    const [condition] = expression.operands;
    if (expression.name === 'if' && condition !== undefined && !hasBody(condition)) {
      const whole = `${lines.at(-1)} ${this.inline(condition)}`;
      if (whole.length <= MAXIMUM_WIDTH) lines[lines.length - 1] = whole;
      else this.statement(condition, inner);
    } else {
      this.sequence(expression.operands, inner);
    }
    if (expression.body !== undefined) {
      this.open.push(expression.name);
      if (expression.name === 'if') {
        this.arm('then', expression.body, inner);
        if (expression.otherwise !== undefined) this.arm('else', expression.otherwise, inner);
      } else {
        this.sequence(expression.body, inner);
      }
      this.open.pop();
    }
    lines[lines.length - 1] += ')';
  }

  private arm(name: string, body: readonly Expression[], indent: string): void {
    this.lines.push(`${indent}(${name}`);
    this.sequence(body, `${indent}  `);
    this.lines[this.lines.length - 1] += ')';
  }

  private inline(expression: Expression): string {
    return `(${[this.head(expression), ...expression.operands.map((operand) => this.inline(operand))].join(' ')})`;
  }

  private label(depth: number): string {
    const level = this.open.length - 1 - depth;
    if (level < 0) return '$function';
    return labelOf(this.open[level]!, level);
  }

  private local(index: number): string {
    const name = this.names.localName?.(index);
    return name === undefined ? `${index}` : `$${name}`;
  }

  private head(expression: Expression): string {
    const { stacked } = expression;
    const head = this.ownHead(expression);
    return stacked === undefined ? head : `${head} (;${stacked} from the stack;)`;
  }

  /** The name with what the instruction itself says. */
  private ownHead(expression: Expression): string {
    const { name, index, constant, offset, alignLog2, lanes, type } = expression;
    switch (name) {
      case 'block':
      case 'loop':
      case 'if': {
        const result = type === undefined ? '' : ` (result ${type})`;
        return name === 'if' ? name + result : `${name} ${labelOf(name, this.open.length)}${result}`;
      }
      case 'br':
      case 'br_if':
        return `${name} ${this.label(index!)}`;
      case 'local.get':
      case 'local.set':
      case 'local.tee':
        return `${name} ${this.local(index!)}`;
      case 'call':
      case 'return_call': {
        const called = this.names.functionName?.(index!);
        return `${name} ${called === undefined ? index : `$${called}`}`;
      }
      case 'call_indirect':
      case 'return_call_indirect':
        return `${name} (type ${index})`;
      case 'select':
        return type === undefined ? name : `${name} (result ${type})`;
      default:
    }
    if (constant !== undefined) return `${name} ${constantText(constant)}`;
    if (lanes !== undefined) return `${name} ${lanes.join(' ')}`;
    if (offset === undefined) return name;
    const place = this.names.placeName?.(expression);
    return [
      name,
      ...(offset === 0 && place === undefined ? [] : [`offset=${offset}`]),
      ...(place === undefined ? [] : [`(;${place};)`]),
      ...(alignLog2! > 0 ? [`align=${1 << alignLog2!}`] : []),
    ].join(' ');
  }
}

/** Whether it, or an operand, holds statements of its own. */
function hasBody(expression: Expression): boolean {
  return expression.body !== undefined || expression.operands.some(hasBody);
}

function labelOf(kind: string, level: number): string {
  return `$${kind}${level}`;
}

/** Numbers from 4096 on, either side of 0, are masks, addresses or bit patterns: hexadecimal. */
function constantText(value: number | bigint | Uint8Array): string {
  if (value instanceof Uint8Array) return `i8x16 ${[...value].map((byte) => `0x${hex(byte, 2)}`).join(' ')}`;
  if (typeof value === 'number' && !Number.isInteger(value)) {
    return Number.isNaN(value) ? 'nan' : String(value).replace('Infinity', 'inf');
  }
  if (Object.is(value, -0)) return '-0';
  const magnitude = value < 0 ? -value : value;
  if (magnitude < 4096) return `${value}`;
  return `${value < 0 ? '-' : ''}0x${magnitude.toString(16)}`;
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/** One function as text, without a newline at the end. */
export function printFunction(printed: ModuleFunction, names: TextNames = {}): string {
  const { type, locals, body, name } = printed;
  const printer = new TextPrinter(names);
  const signature = [
    ...(type.parameters.length > 0 ? [`(param ${type.parameters.join(' ')})`] : []),
    ...(type.results.length > 0 ? [`(result ${type.results.join(' ')})`] : []),
  ];
  printer.lines.push(['(func', ...(name === undefined ? [] : [`(;${name};)`]), ...signature].join(' '));
  for (const [position, local] of locals.entries()) {
    const index = type.parameters.length + position;
    const known = names.localName?.(index);
    const last = printer.lines.at(-1)!;
    const declared = known === undefined ? local : `$${known} ${local}`;
    // Unnamed locals stand together.
    if (known === undefined && last.startsWith('  (local ') && !last.includes('$')) {
      printer.lines[printer.lines.length - 1] = `${last.slice(0, -1)} ${local})`;
    } else {
      printer.lines.push(`  (local ${declared})`);
    }
  }
  printer.sequence(body, '  ');
  printer.lines[printer.lines.length - 1] += ')';
  return printer.lines.join('\n');
}
