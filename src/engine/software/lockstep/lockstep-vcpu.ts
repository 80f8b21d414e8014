// Two processors in lockstep. The leader, whose hot code is translated, has the machine; the follower, which only
// interprets, has a copy of the RAM and hears the leader's answers from a log. Where the leader stops, the follower
// must come by with the same state.
//
//     leader:    |--- slice ---|--- slice ---|-- to an interrupt --|-- ...
//     follower:                |--- slice ---|--- slice -----------|-- to the interrupt --| ...
//
// A slice ends where the leader polls for the second time, so that it has moved. At a meeting all registers are the
// same, and the pages that the follower has touched; the rest of the RAM is compared now and then.

import { STATE } from '../../../ir/guest-state.ts';
import type { DirtyLog } from '../../dirty-log.ts';
import type { StepResult, Vcpu, VcpuExit, VcpuHost } from '../../vcpu.ts';
import type { VcpuState } from '../../vcpu-state.ts';
import { GUEST_RAM_OFFSET } from '../layout.ts';
import { SoftwareVcpu, type SoftwareVcpuOptions } from '../vcpu.ts';
import { type DifferenceCause, describeTraced, type TracedInstruction, writeReport } from './difference-report.ts';
import { Follower, type FollowerSettings, type Meeting, type Trace, type TraceOptions } from './follower.ts';
import { type DeviceWrite, dataCalls, HostCallLog } from './host-calls.ts';

const PAGE_BYTES = 4096;
/** Differing pages that a report shows. */
const SHOWN_PAGES = 8;

export interface LockstepSettings extends Partial<FollowerSettings> {
  /** Jumps between two polls of the leader; a slice has up to twice as many of the jumps that it counts. */
  readonly sliceJumps?: number;
  /** Slices between two comparisons of the whole RAM. */
  readonly slicesBetweenRamComparisons?: number;
  /** Called when the leader has stopped, before the follower runs after it: for tests, which do damage here. */
  readonly onLeaderStopped?: (slice: number, leader: SoftwareVcpu) => void;
}

export const DEFAULT_SLICE_JUMPS = 1024;
const DEFAULT_SLICES_BETWEEN_RAM_COMPARISONS = 16384;
const TRACED_INSTRUCTIONS = 32;
/** A leader's jump in a region may be many of the follower's. */
const FREE_JUMPS = 4;
const CAREFUL_TURNS = 256;
const CAREFUL_TURNS_AT_LEAST = 500_000;

export interface LockstepDifference {
  readonly kind: DifferenceCause['kind'];
  /** The slice in which it was found, from 1 on. */
  readonly slice: number;
  /** Several lines for people. */
  readonly report: string;
}

/** Unwinds the leader when a difference was found while it waits for the answer to a call. */
class LeaderStopped extends Error {}

export class LockstepVcpu implements Vcpu {
  readonly leader: SoftwareVcpu;
  readonly follower: Follower;
  /** The first difference; nothing runs any more once there is one. */
  difference: LockstepDifference | undefined;
  slices = 0;
  private readonly host: VcpuHost;
  private readonly leaderBytes: Uint8Array;
  private readonly log = new HostCallLog();
  private readonly sliceJumps: number;
  private readonly ramComparisonSlices: number;
  private readonly onLeaderStopped: (slice: number, leader: SoftwareVcpu) => void;
  /** Of the leader, in this slice. */
  private polls = 0;
  /** An NMI waits; the leader may take it now. */
  private heldNmi = false;
  private offeredNmi = false;
  /** The leader's state is looked at or set, which asks the host too: no part of the run. */
  private inspecting = false;
  /** Ranges of RAM that somebody else wrote and the follower does not have yet. */
  private written: { guestPhysical: number; lengthBytes: number }[] = [];
  /** Where both were the last time, and the slice after which all of RAM was compared. */
  private meetingPlace: VcpuState;
  private comparedSlice = 0;

  constructor(options: SoftwareVcpuOptions, settings: LockstepSettings = {}) {
    const sliceJumps = settings.sliceJumps ?? DEFAULT_SLICE_JUMPS;
    this.sliceJumps = sliceJumps;
    this.host = options.host;
    this.leaderBytes = new Uint8Array(options.memory.buffer);
    this.ramComparisonSlices = settings.slicesBetweenRamComparisons ?? DEFAULT_SLICES_BETWEEN_RAM_COMPARISONS;
    this.onLeaderStopped = settings.onLeaderStopped ?? (() => {});
    const random = options.random ?? (() => crypto.getRandomValues(new BigUint64Array(1))[0]!);
    this.leader = new SoftwareVcpu({
      ...options,
      host: this.leaderHost(),
      pollInterval: sliceJumps,
      random: () => this.ask('random', 0, 8, undefined, random) as bigint,
    });
    this.follower = new Follower(options, this.log, {
      freeJumps: settings.freeJumps ?? FREE_JUMPS * sliceJumps,
      maximumTurns: settings.maximumTurns ?? Math.max(CAREFUL_TURNS * sliceJumps, CAREFUL_TURNS_AT_LEAST),
      tracedInstructions: settings.tracedInstructions ?? TRACED_INSTRUCTIONS,
    });
    this.meetingPlace = this.getState();
  }

  getState(): VcpuState {
    return this.inspect(() => this.leader.getState());
  }

  /** RAM may have been written by anybody before: the follower gets what the leader has. */
  setState(state: VcpuState): void {
    this.written = [];
    this.follower.copyAll();
    this.inspect(() => this.leader.setState(state));
    this.meetingPlace = this.getState();
    this.follower.setState(this.meetingPlace);
  }

  invalidateCode(guestPhysical: number, lengthBytes: number): void {
    this.leader.invalidateCode(guestPhysical, lengthBytes);
    this.follower.copy(guestPhysical, lengthBytes);
  }

  get dirtyLog(): DirtyLog {
    return this.leader.dirtyLog;
  }

  /** Runs until an exit; `internal-error` with the report when there is a difference. */
  run(): VcpuExit {
    while (this.difference === undefined) {
      if (this.host.poll()) return { kind: 'interrupted' };
      this.copyWritten();
      const exit = this.runSlice();
      if (exit !== undefined && this.difference === undefined) return exit;
    }
    return { kind: 'internal-error', message: this.difference.report };
  }

  step(): StepResult {
    this.copyWritten();
    this.slices++;
    const result = this.leader.step();
    this.onLeaderStopped(this.slices, this.leader);
    const state = this.getState();
    this.settle(state, this.follower.step(state, result));
    if (this.difference === undefined) return result;
    return { kind: 'exit', exit: { kind: 'internal-error', message: this.difference.report } };
  }

  /** Compares all RAM; call where the leader stands still, after run(). Gives the difference, if there is one. */
  compareRam(): LockstepDifference | undefined {
    if (this.difference !== undefined) return this.difference;
    this.copyWritten();
    const pages = this.follower.differingPages();
    if (pages.length > 0) this.report(this.meetingPlace, { kind: 'memory', pages, since: this.comparedSlice });
    this.comparedSlice = this.slices;
    return this.difference;
  }

  /** A device has written to the leader's RAM, or is about to before its call ends. */
  noteDeviceWrite(guestPhysical: number, lengthBytes: number): void {
    this.written.push({ guestPhysical, lengthBytes });
  }

  private inspect<T>(look: () => T): T {
    this.inspecting = true;
    try {
      return look();
    } finally {
      this.inspecting = false;
    }
  }

  // The leader.

  private ask(
    name: Parameters<HostCallLog['next']>[0],
    place: number,
    sizeBytes: number,
    value: number | bigint | undefined,
    ask: () => number | bigint | boolean | undefined,
  ): number | bigint | boolean | undefined {
    if (this.inspecting) return ask();
    const answer = ask();
    this.log.add({ name, place, sizeBytes, value, answer, deviceWrites: this.takeWritten() });
    return answer;
  }

  private leaderHost(): VcpuHost {
    const { host } = this;
    return {
      ...dataCalls(host, (name, place, sizeBytes, value, ask) => this.ask(name, place, sizeBytes, value, ask)),
      // It asks within generated code too, where its registers are elsewhere: true makes it leave.
      poll: () => this.polls++ > 0,
      interruptPending: () => host.interruptPending(),
      waitForInterrupt: () => host.waitForInterrupt(),
      // Asked between two instructions only.
      acknowledgeInterrupt: () => {
        const vector = host.acknowledgeInterrupt();
        if (vector >= 0) {
          this.catchUp();
          this.follower.deliver(vector);
        }
        return vector;
      },
      takeNmi: () => {
        if (!this.offeredNmi) return false;
        this.offeredNmi = false;
        this.heldNmi = false;
        this.catchUp();
        this.follower.deliverNmi();
        return true;
      },
    };
  }

  private runSlice(): VcpuExit | undefined {
    this.slices++;
    this.polls = 0;
    this.heldNmi ||= this.host.takeNmi();
    this.offeredNmi = this.heldNmi && this.takesNmi();
    let exit: VcpuExit;
    try {
      exit = this.leader.run();
    } catch (error) {
      if (!(error instanceof LeaderStopped)) throw error;
      return undefined;
    }
    if (exit.kind === 'internal-error') return exit;
    this.follow(exit);
    if (this.slices % this.ramComparisonSlices === 0) this.compareRam();
    return exit.kind === 'interrupted' ? undefined : exit;
  }

  /** Whether the leader asks for NMIs before it runs anything; later it may do so in the middle of generated code. */
  private takesNmi(): boolean {
    const { interruptShadow, nmiBlocked } = this.getState().events;
    return !interruptShadow && !nmiBlocked;
  }

  /** The leader stands between two instructions, within its run(). */
  private catchUp(): void {
    this.follow(undefined);
    if (this.difference !== undefined) throw new LeaderStopped();
  }

  private follow(exit: VcpuExit | undefined): void {
    this.onLeaderStopped(this.slices, this.leader);
    const state = this.getState();
    this.settle(state, this.follower.follow(state, exit, this.countLeaderJumps()));
  }

  /** About how many jumps the leader has taken in this slice: as many as its polls and its budget tell. */
  private countLeaderJumps(): number {
    const { cpu } = this.leader;
    const budget = cpu.view.getInt32(cpu.offset + STATE.budget.offset, true);
    const left = Math.min(Math.max(budget, 0), this.sliceJumps);
    return Math.max(this.polls - 1, 0) * this.sliceJumps + this.sliceJumps - left;
  }

  private settle(state: VcpuState, meeting: Meeting): void {
    if (meeting === 'met') this.meetingPlace = state;
    else this.report(state, meeting);
  }

  // RAM that others write.

  private takeWritten(): DeviceWrite[] {
    if (this.written.length === 0) return [];
    const writes = this.written.map(({ guestPhysical, lengthBytes }) => {
      const at = GUEST_RAM_OFFSET + guestPhysical;
      return { guestPhysical, bytes: this.leaderBytes.slice(at, at + lengthBytes) };
    });
    this.written = [];
    return writes;
  }

  /** What was written outside the leader's calls: both processors stand at the same place. */
  private copyWritten(): void {
    if (this.written.length === 0) return;
    for (const { guestPhysical, lengthBytes } of this.written) this.follower.copy(guestPhysical, lengthBytes);
    this.written = [];
  }

  // The report.

  private report(leader: VcpuState, cause: DifferenceCause): void {
    const atRest = cause.kind === 'memory' && cause.since !== undefined;
    const trace = (options: TraceOptions): Trace =>
      atRest ? { nearest: leader, count: 0, instructions: [], writers: [] } : this.follower.trace(leader, options);
    let found = trace({ toTheEnd: cause.kind === 'host-call' });
    let pages: readonly number[] = [];
    let differing: number[][] = [];
    if (cause.kind !== 'host-call') {
      // Once more to that place, to see what is there, and for memory once more to see who wrote it.
      const maximumInstructions = found.count;
      found = trace({ maximumInstructions });
      if (cause.kind === 'memory') {
        pages = atRest ? cause.pages : this.follower.changedPages();
        differing = pages.slice(0, SHOWN_PAGES).map((page) => this.differingBytes(page));
        found = trace({ maximumInstructions, watched: differing.map(([first]) => first!) });
      }
    }
    const { nearest, instructions, writers } = found;
    const report = writeReport({
      cause: cause.kind === 'memory' ? { ...cause, pages } : cause,
      slice: this.slices,
      turns: this.follower.turns,
      start: this.meetingPlace,
      leader,
      nearest,
      instructions,
      calls: this.log.all,
      consumed: this.log.consumedCount,
      memory: differing.map((hostOffsets, k) => this.describeBytes(hostOffsets, writers[k])),
    });
    this.difference = { kind: cause.kind, slice: this.slices, report };
  }

  /** Host offsets of the bytes of a page that are not the same; one at least. */
  private differingBytes(page: number): number[] {
    const first = GUEST_RAM_OFFSET + page * PAGE_BYTES;
    const differing: number[] = [];
    for (let at = first; at < first + PAGE_BYTES; at++) {
      if (this.leaderBytes[at] !== this.follower.bytes[at]) differing.push(at);
    }
    return differing;
  }

  private describeBytes(hostOffsets: readonly number[], writer: TracedInstruction | undefined): string {
    const from = hostOffsets[0]! & ~15;
    const address = (from - GUEST_RAM_OFFSET).toString(16).padStart(9, '0');
    const row = (of: Uint8Array): string =>
      [...of.slice(from, from + 16)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const lines = [
      `guest-physical ${address}: ${hostOffsets.length} bytes of the page differ, the first of them here`,
      `  leader    ${row(this.leaderBytes)}`,
      `  follower  ${row(this.follower.bytes)}`,
    ];
    if (writer !== undefined) lines.push(`  which the follower wrote at${describeTraced(writer)}`);
    return lines.join('\n');
  }
}
