// Forms that have been met, by number: most instructions are of one that is known. A form's key is made, and its
// handler generated, when its first instruction comes.

import type { Decode } from '../../decode/decoder.ts';
import type { Instruction } from '../../decode/instruction.ts';
import type { InstructionLift } from '../../ir/builder.ts';
import { formNumber, formOf } from './forms.ts';
import type { HandlerTable } from './handler-table.ts';

const FUSED_LIFTS = new Set(['cmp', 'test', 'sub', 'and', 'or', 'xor', 'add', 'dec', 'inc']);

export interface Form {
  readonly key: string;
  readonly lift: InstructionLift;
  /** Its place in the table of handlers. */
  readonly handler: number;
  /** What is behind such an instruction may run next. */
  readonly goesOn: boolean;
  /** It may share a handler with a conditional jump behind it: the places of those handlers, by the jump's form. */
  readonly pairs: Map<Form, number> | undefined;
}

export class FormTable {
  private readonly handlers: HandlerTable;
  private readonly forms = new Map<number, Form>();

  constructor(handlers: HandlerTable) {
    this.handlers = handlers;
  }

  of(instruction: Instruction): Form {
    const number = formNumber(instruction);
    const known = this.forms.get(number);
    if (known !== undefined) return known;
    const { key, lift } = formOf(instruction);
    const form = describe(instruction, key, lift, this.handlers.indexOf(key, lift));
    this.forms.set(number, form);
    return form;
  }

  /** The place of the handler for both, or undefined where they do not share one. */
  pair(first: Form, second: Form): number | undefined {
    if (first.pairs === undefined || second.lift.lift !== 'jcc') return undefined;
    const known = first.pairs.get(second);
    if (known !== undefined) return known;
    const { key, lifts } = pairOf(first, second);
    const handler = this.handlers.indexOfPair(first.handler, key, lifts);
    first.pairs.set(second, handler);
    return handler;
  }

  /**
   * Generates the handlers of these forms at once, which takes a tenth of what each would when it is met. An item is an
   * instruction of 64-bit code, or two that are to share a handler, in hexadecimal with a plus sign between.
   */
  prepare(usual: Iterable<string>, decode: Decode): void {
    const wanted: { readonly key: string; readonly lifts: readonly InstructionLift[] }[] = [];
    for (const item of usual) {
      const forms = item.split('+').map((hex) => {
        const bytes = Uint8Array.from(hex.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
        const instruction = decode(bytes, 0, bytes.length, 64);
        if (typeof instruction === 'string') throw new Error(`no instruction: ${item}`);
        return formOf(instruction);
      });
      const [first, second] = forms;
      wanted.push(second === undefined ? { key: first!.key, lifts: [first!.lift] } : pairOf(first!, second));
    }
    this.handlers.generate(wanted);
  }
}

function pairOf(
  first: { readonly key: string; readonly lift: InstructionLift },
  second: { readonly key: string; readonly lift: InstructionLift },
): { key: string; lifts: readonly [InstructionLift, InstructionLift] } {
  return { key: `${first.key} + ${second.key}`, lifts: [first.lift, second.lift] };
}

/** A comparison, or an arithmetic instruction without a store: a conditional jump behind it shares its handler. */
export function fusesWithJump({ row, operands }: Instruction): boolean {
  const compares = row.lift === 'cmp' || row.lift === 'test';
  return FUSED_LIFTS.has(row.lift) && (compares || operands[0]!.kind === 'register');
}

function describe(instruction: Instruction, key: string, lift: InstructionLift, handler: number): Form {
  const { row } = instruction;
  return {
    key,
    lift,
    handler,
    goesOn: row.ends !== true || row.lift === 'jcc' || row.lift.startsWith('loop') || row.lift === 'jrcxz',
    pairs: fusesWithJump(instruction) ? new Map() : undefined,
  };
}
