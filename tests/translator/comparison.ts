// Runs a program interpreted and translated, and says in words where the outcomes differ.

import { SEGMENT_NAMES } from '../../src/engine/vcpu-state.ts';
import { GPR_NAMES_64 } from '../../src/isa/registers.ts';
import { MODES, type Mode, type Outcome, ProgramGuest } from './guest.ts';
import { DIRECT, HANDLER_WORD, PLACE } from './guest-places.ts';
import { LOG_WORDS } from './handlers.ts';
import { layOut, type Program, ProgramTooLong } from './program.ts';

export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

type Modes = readonly Mode[];

/** Engines are kept: making one costs more than most programs. */
export class Comparison {
  private readonly modes: Modes;
  private guests = new Map<Mode, ProgramGuest>();

  constructor(modes: Modes) {
    this.modes = modes;
  }

  /** Forgets everything that earlier programs left in the engines. */
  renew(): void {
    this.guests = new Map();
  }

  guest(mode: Mode): ProgramGuest {
    let guest = this.guests.get(mode);
    if (guest === undefined) {
      guest = new ProgramGuest(mode);
      this.guests.set(mode, guest);
    }
    return guest;
  }

  /** What differs first, in the first mode in which something does. */
  compare(program: Program, modes: readonly Mode[] = this.modes): Verdict {
    let image: ReturnType<typeof layOut>;
    try {
      image = layOut(program);
    } catch (error) {
      if (error instanceof ProgramTooLong) return { kind: 'unusable', why: error.message };
      throw error;
    }
    const expected = this.guest(MODES.interpreted).run(image);
    const broken = defect(expected);
    if (broken !== undefined) return { kind: 'different', mode: MODES.interpreted, differences: [broken] };
    if (expected.exit.kind === 'endless') return { kind: 'unusable', why: 'does not end' };
    for (const mode of modes) {
      if (mode.without !== undefined && program.features.includes(mode.without)) continue;
      const actual = this.guest(mode).run(image);
      const differences = describeDifferences(expected, actual);
      if (differences.length > 0) return { kind: 'different', mode, differences };
    }
    return { kind: 'same', exceptions: exceptionCount(expected.ram) };
  }
}

export type Verdict =
  | { readonly kind: 'same'; readonly exceptions: number }
  | { readonly kind: 'unusable'; readonly why: string }
  | { readonly kind: 'different'; readonly mode: Mode; readonly differences: readonly string[] };

function defect({ exit }: Outcome): string | undefined {
  if (exit.kind === 'thrown') return `threw ${exit.error instanceof Error ? exit.error.stack : exit.error}`;
  return exit.kind === 'internal-error' ? `internal error: ${exit.message}` : undefined;
}

function exceptionCount(ram: Uint8Array): number {
  const next = new DataView(ram.buffer).getBigUint64(PLACE.HANDLER_DATA + HANDLER_WORD.next, true);
  return Number(next - DIRECT - BigInt(PLACE.LOG)) / (LOG_WORDS.length * 8);
}

const describeExit = ({ exit }: Outcome): string =>
  exit.kind === 'shutdown' ? `${exit.kind}: ${exit.reason}` : exit.kind;

export function describeDifferences(expected: Outcome, actual: Outcome): string[] {
  const broken = defect(actual);
  if (broken !== undefined) return [broken];
  const found: string[] = [];
  const note = (name: string, one: bigint | number, other: bigint | number) => {
    if (one !== other) found.push(`${name}: interpreted ${hex(one)}, translated ${hex(other)}`);
  };
  if (describeExit(expected) !== describeExit(actual)) {
    found.push(`ended: interpreted ${describeExit(expected)}, translated ${describeExit(actual)}`);
  }
  const [one, other] = [expected.state, actual.state];
  GPR_NAMES_64.forEach((name, k) => {
    note(name, one.gpr[k]!, other.gpr[k]!);
  });
  for (const name of ['rip', 'rflags', 'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const)
    note(name, one[name], other[name]);
  for (const name of ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const)
    note(name, one.debug[name], other.debug[name]);
  for (const name of SEGMENT_NAMES) {
    for (const field of ['selector', 'base', 'limit', 'attributes'] as const) {
      note(`${name}.${field}`, one.segments[name][field], other.segments[name][field]);
    }
  }
  for (const [index, value] of one.msrs) note(`msr ${hex(index)}`, value, other.msrs.get(index)!);
  const access = expected.accesses.findIndex((one, k) => one !== actual.accesses[k]);
  if (access >= 0 || expected.accesses.length !== actual.accesses.length) {
    const k = access >= 0 ? access : expected.accesses.length;
    found.push(`device access ${k}: interpreted ${expected.accesses[k]}, translated ${actual.accesses[k]}`);
  }
  found.push(...differentXsave(one.xsave, other.xsave));
  found.push(...differentLog(expected.ram, actual.ram), ...differentRam(expected.ram, actual.ram));
  return found;
}

const bytesHex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');

function differentXsave(one: Uint8Array, other: Uint8Array): string[] {
  const found: string[] = [];
  const part = (name: string, from: number, to: number) => {
    const [left, right] = [bytesHex(one.subarray(from, to)), bytesHex(other.subarray(from, to))];
    if (left !== right) found.push(`${name} (bytes): interpreted ${left}, translated ${right}`);
  };
  part('x87 control to FOP', 0, 8);
  part('x87 pointers', 8, 24);
  part('mxcsr', 24, 32);
  for (let k = 0; k < 8; k++) part(`st${k}`, 32 + k * 16, 48 + k * 16);
  for (let k = 0; k < 16; k++) part(`xmm${k}`, 160 + k * 16, 176 + k * 16);
  return found;
}

/** The first exception that was not the same. */
function differentLog(one: Uint8Array, other: Uint8Array): string[] {
  const entryBytes = LOG_WORDS.length * 8;
  const [left, right] = [new DataView(one.buffer), new DataView(other.buffer)];
  for (let at = PLACE.LOG; at + entryBytes <= PLACE.LOG_END; at += entryBytes) {
    const words = LOG_WORDS.flatMap((name, k) => {
      const values = [left.getBigUint64(at + k * 8, true), right.getBigUint64(at + k * 8, true)] as const;
      return values[0] === values[1] ? [] : [`${name} ${hex(values[0])} ${hex(values[1])}`];
    });
    if (words.length === 0) continue;
    const where = LOG_WORDS.indexOf('vector') * 8;
    const event = (view: DataView) =>
      `vector ${view.getBigUint64(at + where, true)} at ${hex(view.getBigUint64(at + where + 16, true))}`;
    const number = (at - PLACE.LOG) / entryBytes;
    return [`exception ${number} (interpreted ${event(left)}, translated ${event(right)}): ${words.join(', ')}`];
  }
  return [];
}

const AREAS = Object.entries(PLACE).sort(([, a], [, b]) => b - a);

const ACCESSED = 0x20n;

/**
 * Where the translated run has read code ahead of its execution, the pages' entries are marked as accessed, as a
 * processor's are by speculation (SDM volume 3, 4.10.2.3): the mark is taken away where the interpreter did not set it.
 */
function withoutPrefetches(one: Uint8Array, other: Uint8Array): Uint8Array {
  const result = other.slice();
  const [left, right] = [new DataView(one.buffer), new DataView(result.buffer)];
  for (let at = PLACE.PAGE_TABLES; at < one.length; at += 8) {
    const [before, after] = [left.getBigUint64(at, true), right.getBigUint64(at, true)];
    if (after !== (before | ACCESSED)) continue;
    const frame = Number(before & 0xff_f000n);
    const isCode = frame >= PLACE.CODE && frame < PLACE.DATA;
    if (isCode || frame >= PLACE.PAGE_TABLES) right.setBigUint64(at, before, true);
  }
  return result;
}

function differentRam(one: Uint8Array, translated: Uint8Array): string[] {
  if (Buffer.compare(one, translated) === 0) return [];
  const other = withoutPrefetches(one, translated);
  const found: string[] = [];
  for (let at = 0; at < one.length && found.length < 6; at += 8) {
    const [left, right] = [one.subarray(at, at + 8), other.subarray(at, at + 8)];
    if (Buffer.compare(left, right) === 0 || (at >= PLACE.LOG && at < PLACE.LOG_END)) continue;
    const [name, start] = AREAS.find(([, from]) => from <= at)!;
    found.push(
      `RAM ${hex(at)} (${name} + ${hex(at - start)}), bytes: ` +
        `interpreted ${bytesHex(left)}, translated ${bytesHex(right)}`,
    );
  }
  return found;
}
