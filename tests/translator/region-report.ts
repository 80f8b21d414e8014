// What guest code becomes: a region of the given bytes, formed and emitted as the translator does it, as text with its
// figures. For the goldens and for tools/show-region.ts.

import { decode } from '../../src/decode/decoder.ts';
import { importLazily } from '../../src/emit/imports.ts';
import { TLB } from '../../src/emit/record.ts';
import { emitRegion, type RegionCode } from '../../src/emit/region.ts';
import { formRegion } from '../../src/engine/software/region-former.ts';
import { GPR_OFFSET, STATE, type StateField, XMM_OFFSET } from '../../src/ir/guest-state.ts';
import { printBody } from '../../src/ir/printer.ts';
import { GPR_NAMES_64 } from '../../src/isa/registers.ts';
import {
  disassembleModule,
  type Expression,
  isStructure,
  type ModuleFunction,
  walk,
} from '../../src/wasm/disassembler.ts';
import { ModuleWriter } from '../../src/wasm/encoder.ts';
import { printFunction } from '../../src/wasm/text.ts';

const CPU = 0;
const RECORD_LOCAL = 1;
const MAXIMUM_PAGES = 65536;

export interface GuestCode {
  /** From the beginning of the page that the entry lies in. */
  readonly origin: number;
  readonly bytes: Uint8Array;
  /** Offset of the first instruction; `origin` unless it says so. */
  readonly entry?: number;
  /** Where indirect jumps have been seen to go. */
  readonly landings?: readonly number[];
}

export interface RegionFigures {
  readonly instructions: number;
  /** WebAssembly instructions but for block, loop, else and end. */
  readonly operations: number;
  /** Those outside of the shared exits and of arms that call the engine. */
  readonly hotOperations: number;
  /** Of these, those that compute or reach memory: neither constants nor moves between locals. */
  readonly hotWork: number;
  /** Of the function's body. */
  readonly bytes: number;
}

export interface RegionReport {
  readonly blocks: string;
  readonly wasm: string;
  readonly figures: RegionFigures;
}

/** Throws where not even the first instruction can be in a region. */
export function reportRegion(code: GuestCode): RegionReport {
  const { origin, bytes, entry = origin, landings = [] } = code;
  const region = formRegion(
    {
      decode: (offset) => {
        const at = offset - origin;
        if (at < 0 || at >= bytes.length) return undefined;
        const found = decode(bytes, at, bytes.length - at, 64);
        return typeof found === 'string' ? undefined : found;
      },
      taken: () => true,
      landings: () => landings,
    },
    entry,
  );
  if (region === undefined) throw new Error('a region cannot begin with this instruction');
  const writer = new ModuleWriter();
  const imports = importLazily(writer, MAXIMUM_PAGES);
  const body = emitRegion(imports, region);
  const index = writer.declare(imports.handlerType);
  writer.define(index, body);
  const { imports: importNames, functions } = disassembleModule(writer.finish());
  const emitted = functions[0]!;
  const locals = nameLocals(emitted, importNames);
  const functionName = (called: number): string | undefined => importNames[called];
  const wasm = printFunction(emitted, {
    functionName,
    localName: (local) => locals.get(local),
    placeName: (expression) => placeName(expression, locals),
  });
  const operations = [...walk(emitted.body)].filter((expression) => !isStructure(expression)).length;
  const hot = hotPath(emitted, importNames);
  const figures = {
    instructions: region.spans.length,
    operations,
    hotOperations: hot.length,
    hotWork: hot.filter(({ name }) => !FREE.test(name)).length,
    bytes: emitted.sizeBytes,
  };
  return { blocks: printBlocks(region), wasm, figures };
}

function printBlocks({ blocks }: RegionCode): string {
  return [...blocks.values()]
    .sort((a, b) => a.offset - b.offset)
    .map(({ offset, body, next }) => {
      const goesOn = next === undefined ? '' : `\n  next ${placeText(next)}`;
      return `block ${placeText(offset)}\n${printBody(body)}${goesOn}`;
    })
    .join('\n');
}

const placeText = (offset: number): string =>
  offset < 0 ? `page-0x${(-offset).toString(16)}` : `page+0x${offset.toString(16)}`;

// Names, which the bytes do not have: state fields by their offsets, locals by what they are filled from or used for.

const FIELDS = new Map<number, string>(Object.entries(STATE).map(([name, { offset }]) => [offset, name]));
const NAMED_LOCALS: readonly StateField[] = ['codePage', 'tlb', 'tlbKey'];

function registerAt(offset: number): string | undefined {
  if (offset >= GPR_OFFSET && offset < GPR_OFFSET + 128) return GPR_NAMES_64[(offset - GPR_OFFSET) >> 3];
  if (offset >= XMM_OFFSET && offset < XMM_OFFSET + 256) return `xmm${(offset - XMM_OFFSET) >> 4}`;
  return undefined;
}

const isGet = (expression: Expression | undefined, local?: number): boolean =>
  expression?.name === 'local.get' && (local === undefined || expression.index === local);

const isEntry =
  (locals: ReadonlyMap<number, string>) =>
  (expression: Expression | undefined): boolean =>
    expression?.index !== undefined && expression.name.startsWith('local.') && locals.get(expression.index) === 'entry';

function placeName({ name, operands, offset }: Expression, locals: ReadonlyMap<number, string>): string | undefined {
  const [base] = operands;
  if (isGet(base, CPU)) return registerAt(offset!) ?? FIELDS.get(offset!);
  const isTag = name === 'i64.load' && [base, ...(base?.operands ?? [])].some(isEntry(locals));
  if (isTag && offset === TLB.readTag) return 'read tag';
  if (isTag && offset === TLB.writeTag) return 'write tag';
  if (name === 'i32.load' && offset === TLB.addend && isEntry(locals)(base)) return 'addend';
  return undefined;
}

function nameLocals({ body }: ModuleFunction, importNames: readonly string[]): ReadonlyMap<number, string> {
  const names = new Map([
    [CPU, 'cpu'],
    [RECORD_LOCAL, 'record'],
  ]);
  const note = (expression: Expression | undefined, name: string): void => {
    if (isGet(expression) && !names.has(expression!.index!)) names.set(expression!.index!, name);
  };
  for (const expression of walk(body)) {
    const { name, operands, index, offset } = expression;
    const [first, second] = operands;
    if (name === 'local.set' && first?.offset !== undefined && isGet(first.operands[0], CPU)) {
      const register = registerAt(first.offset) ?? NAMED_LOCALS.find((field) => STATE[field].offset === first.offset);
      if (register !== undefined && !names.has(index!)) names.set(index!, register);
    }
    if (name.endsWith('.store') && isGet(first, CPU)) {
      const register = registerAt(offset!);
      if (register !== undefined) note(second, register);
    }
    if (name === 'i32.load' && offset === TLB.addend && !isGet(first, CPU)) note(first, 'entry');
    if (name === 'local.set' && first?.name === 'call' && /^core\.regionStore/.test(importNames[first.index!]!)) {
      if (!names.has(index!)) names.set(index!, 'codeChanged');
    }
    if (name === 'call' && importNames[index!] === 'core.settleFlags' && operands.slice(1).every((one) => isGet(one))) {
      ['flagKind', 'flagFirst', 'flagSecond', 'flagCarry'].forEach((field, k) => {
        note(operands[k + 1], field);
      });
    }
    if (name === 'if' && expression.body?.some((inner) => importNames[inner.index!] === 'core.interpret')) {
      note(first, 'why');
    }
    if (name === 'return_call' && importNames[index!] === 'core.interpret') note(operands[2], 'target');
  }
  return names;
}

// Figures.

const SLOW_CALL = /^services\.|^runtime\.raise$|^core\.(region|slow)(Load|Store|Modify)|^core\.settleFlag/;

/** Whether an arm of an if calls, by itself and not in arms of its own, what only rare cases need. */
function isSlow(arm: readonly Expression[], importNames: readonly string[]): boolean {
  return arm.some(
    (expression) =>
      (/call$/.test(expression.name) && SLOW_CALL.test(importNames[expression.index!] ?? '')) ||
      isSlow(expression.operands, importNames),
  );
}

/** What the compiler makes nothing of. */
const FREE = /^local\.|\.const$/;

/** All up to the last `unreachable`, which closes the guest's code, but for slow arms. */
function hotPath({ body }: ModuleFunction, importNames: readonly string[]): readonly Expression[] {
  const hot: Expression[] = [];
  let guestCode = 0;
  const visit = (sequence: readonly Expression[]): void => {
    for (const expression of sequence) {
      visit(expression.operands);
      if (expression.name === 'unreachable') guestCode = hot.length;
      else if (!isStructure(expression)) hot.push(expression);
      const isArm = expression.name === 'if';
      for (const inner of [expression.body, expression.otherwise]) {
        if (inner !== undefined && !(isArm && isSlow(inner, importNames))) visit(inner);
      }
    }
  };
  visit(body);
  return hot.slice(0, guestCode);
}

/** One line. */
export function figuresText({ instructions, operations, hotOperations, hotWork, bytes }: RegionFigures): string {
  const each = (count: number): string => `${count} (${(count / instructions).toFixed(1)})`;
  return (
    `${instructions} guest instructions; in all (and for each of them): ${each(operations)} operations, ` +
    `${each(hotOperations)} hot, ${each(hotWork)} of these work, ${each(bytes)} bytes`
  );
}
