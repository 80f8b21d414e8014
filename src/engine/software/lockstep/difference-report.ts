// What is told of a difference: the facts, where the follower came nearest to the leader, and the text.

import type { Instruction } from '../../../decode/instruction.ts';
import { gprOffset, STATE } from '../../../ir/guest-state.ts';
import type { VcpuExit } from '../../vcpu.ts';
import type { VcpuState } from '../../vcpu-state.ts';
import type { CpuState } from '../cpu-state.ts';
import type { HostCall, HostQuestion } from './host-calls.ts';
import { describeInstruction } from './instruction-text.ts';
import { findStateDifferences, tabulateStates } from './state-comparison.ts';

export type DifferenceCause =
  /**
   * The follower never had the leader's state; `exit` when its run ended instead, `asked` when it went on to a call
   * that the leader did not come to.
   */
  | { readonly kind: 'state'; readonly exit?: VcpuExit; readonly asked?: HostQuestion }
  /** All registers are the same, these pages are not. `since`: the slice after which all RAM was the same. */
  | { readonly kind: 'memory'; readonly pages: readonly number[]; readonly since?: number }
  /** The follower asked its machine for something else. */
  | { readonly kind: 'host-call'; readonly asked: HostQuestion; readonly expected: HostCall };

export interface TracedInstruction {
  readonly rip: bigint;
  /** How often in a row. */
  readonly times: number;
  readonly bytes: Uint8Array;
  readonly instruction: Instruction | undefined;
}

export interface DifferenceFacts {
  readonly cause: DifferenceCause;
  readonly slice: number;
  readonly turns: number;
  /** Where both began the slice, and where the leader ended it. */
  readonly start: VcpuState;
  readonly leader: VcpuState;
  /** The follower's state that resembles the leader's most, and the instructions that led to it. */
  readonly nearest: VcpuState;
  readonly instructions: readonly TracedInstruction[];
  /** What the leader asked its machine in the slice, and how much of that the follower did. */
  readonly calls: readonly HostCall[];
  readonly consumed: number;
  readonly memory: readonly string[];
}

/** Calls of the leader that a report shows. */
const SHOWN_CALLS = 8;

/** A wrong place counts as much as some wrong registers, a call that is still to come as more. */
const WEIGHT = { rip: 4, calls: 8 } as const;

/** Finds, among the states that the follower goes through, the one that resembles the leader's most. */
export class LeaderDistance {
  /** The nearest so far, and how many instructions had run. */
  best: { readonly state: VcpuState; readonly instructions: number } | undefined;
  private readonly leader: VcpuState;
  private readonly gprs = new Int32Array(32);
  private smallest = Number.POSITIVE_INFINITY;

  constructor(leader: VcpuState) {
    this.leader = leader;
    const view = new DataView(this.gprs.buffer);
    leader.gpr.forEach((value, index) => {
      view.setBigUint64(8 * index, value, true);
    });
  }

  /**
   * True when the processor is nearer than ever: keep() is wanted. `differingPages` is asked where RIP, the general
   * registers and the calls are the leader's: of such places the one with fewest counts.
   */
  measure(cpu: CpuState, consumed: boolean, differingPages: () => number): boolean {
    let distance = consumed ? 0 : WEIGHT.calls;
    if (cpu.get(STATE.rip) !== this.leader.rip) distance += WEIGHT.rip;
    const at = cpu.offset + gprOffset(0);
    for (let k = 0; k < 32; k += 2) {
      const same =
        cpu.view.getInt32(at + 4 * k, true) === this.gprs[k] &&
        cpu.view.getInt32(at + 4 * k + 4, true) === this.gprs[k + 1];
      if (!same) distance++;
    }
    if (distance === 0) distance = 1 - 1 / (1 + differingPages());
    if (distance >= this.smallest) return false;
    this.smallest = distance;
    return true;
  }

  keep(state: VcpuState, instructions: number): void {
    this.best = { state, instructions };
  }
}

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

function describeQuestion(call: HostQuestion): string {
  const place = call.name === 'readTsc' || call.name === 'random' ? '' : ` ${hex(call.place)}`;
  const value = call.value === undefined ? '' : ` value ${hex(call.value)}`;
  return `${call.name}${place} (${call.sizeBytes} bytes)${value}`;
}

function describeCall(call: HostCall): string {
  const { answer } = call;
  const text = typeof answer === 'number' || typeof answer === 'bigint' ? hex(answer) : String(answer);
  return `${describeQuestion(call)}${answer === undefined ? '' : ` -> ${text}`}`;
}

function describeCause({ cause, leader, nearest, calls, consumed, memory }: DifferenceFacts): string[] {
  switch (cause.kind) {
    case 'state': {
      const lines = ["the follower never had the leader's registers; they differ at least in"];
      lines.push(
        `  ${findStateDifferences(leader, nearest).join(', ') || 'nothing but what was asked of the machine'}`,
      );
      if (cause.exit !== undefined) lines.push(`the follower's run ended: ${describeExit(cause.exit)}`);
      if (cause.asked !== undefined) lines.push(`the follower went on to ask for: ${describeQuestion(cause.asked)}`);
      if (consumed < calls.length) {
        lines.push(`the follower has not asked for: ${describeCall(calls[consumed]!)}`);
      }
      return lines;
    }
    case 'memory': {
      const when = cause.since === undefined ? '' : `, somewhere after slice ${cause.since}`;
      return [`the registers are the same, ${cause.pages.length} pages of RAM differ${when}`, ...memory];
    }
    case 'host-call':
      return [
        'the follower asked its machine for something else than the leader',
        `  leader    ${describeCall(cause.expected)}`,
        `  follower  ${describeQuestion(cause.asked)}`,
      ];
  }
}

function describeExit(exit: VcpuExit): string {
  if (exit.kind === 'shutdown') return `shutdown, ${exit.reason}`;
  return exit.kind === 'internal-error' ? `internal error, ${exit.message}` : exit.kind;
}

function tabulate(leader: VcpuState, follower: VcpuState): string[] {
  const rows = tabulateStates(leader, follower);
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const leaderWidth = Math.max(...rows.map((row) => row.leader.length));
  return [
    `  ${' '.repeat(nameWidth)}    ${'leader'.padEnd(leaderWidth)}  follower`,
    ...rows.map((row) => {
      const mark = row.leader === row.follower ? ' ' : '*';
      return `${mark} ${row.name.padEnd(nameWidth)}    ${row.leader.padEnd(leaderWidth)}  ${row.follower}`;
    }),
  ];
}

/** Address, bytes, text. */
export function describeTraced({ rip, times, bytes, instruction }: TracedInstruction): string {
  const text = instruction === undefined ? '(invalid)' : describeInstruction(instruction, rip);
  const raw = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const repeated = times === 1 ? '' : `    (${times} times)`;
  return `  ${rip.toString(16).padStart(16, '0')}  ${raw.padEnd(24)}  ${text}${repeated}`;
}

export function writeReport(facts: DifferenceFacts): string {
  const { slice, turns, start, leader, nearest, instructions, calls, consumed } = facts;
  const way = `the leader went from ${hex(start.rip)} to ${hex(leader.rip)}`;
  const atCall = facts.cause.kind === 'host-call';
  const lines = [
    `a difference in slice ${slice}, after ${turns} jumps: ${way}`,
    ...describeCause(facts),
    '',
    `registers: the leader at the end of the slice, the follower ${atCall ? 'at the call' : 'where it was nearest'}`,
    ...tabulate(leader, nearest),
  ];
  if (instructions.length > 0) {
    lines.push('', 'the last instructions of the follower up to there', ...instructions.map(describeTraced));
  }
  if (calls.length > 0) {
    const first = Math.max(0, Math.min(consumed, calls.length) - SHOWN_CALLS / 2);
    const shown = calls.slice(first, first + SHOWN_CALLS);
    lines.push('', `calls of the leader to its machine, ${first + 1} to ${first + shown.length} of ${calls.length}`);
    lines.push(...shown.map((call) => `  ${describeCall(call)}`));
  }
  return lines.join('\n');
}
