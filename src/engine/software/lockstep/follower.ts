// The processor that comes after: it only interprets, on a RAM of its own, hears the leader's answers from the log, and
// is to come by where the leader stands with the same state.
//
// It is asked at every jump. First it runs freely: mostly the leader stands where a jump leads, so that one of these
// jumps is the meeting. If none is, it goes back to where it began and runs one instruction at a time wherever its
// straight way may pass the leader's place.

import { gprOffset, STATE } from '../../../ir/guest-state.ts';
import { CR0, EFER } from '../../../isa/control-registers.ts';
import { MSR } from '../../../isa/msrs.ts';
import type { StepResult, VcpuExit, VcpuHost } from '../../vcpu.ts';
import type { VcpuState } from '../../vcpu-state.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../layout.ts';
import { SoftwareVcpu, type SoftwareVcpuOptions } from '../vcpu.ts';
import { CodeReader } from './code-reader.ts';
import { type DifferenceCause, LeaderDistance, type TracedInstruction } from './difference-report.ts';
import { dataCalls, type HostCallLog, UnexpectedHostCall } from './host-calls.ts';
import {
  everyWritablePage,
  findDifferingPages,
  isAccessedAhead,
  isPageTable,
  isSamePage,
  PageJournal,
} from './page-journal.ts';
import { isSameState } from './state-comparison.ts';

const PAGE_BYTES = 4096;
/** Distance in bytes up to which code ahead is looked at for a straight way to the leader's place. */
const STRAIGHT_RUN_BYTES = 0x1_0000;
const RCX = 1;
/** No straight way leads to the leader's place. */
const NO_WAY = -1;
/** Turns of a repeated instruction that the engine runs in one go, at most. */
const REPEATED_AT_ONCE = 4096;

export interface FollowerSettings {
  /** Jumps that it may run freely, and then turns (jumps or instructions) with care, before it gives up. */
  readonly freeJumps: number;
  readonly maximumTurns: number;
  /** Instructions that a trace keeps. */
  readonly tracedInstructions: number;
}

/** How the follower came out: at the leader's place with the leader's state, or not. */
export type Meeting = 'met' | DifferenceCause;

export interface Trace {
  /** The state that resembles the leader's most. */
  readonly nearest: VcpuState;
  /** How many instructions ran before it, and the last of them. */
  readonly count: number;
  readonly instructions: readonly TracedInstruction[];
  /** The instructions that last changed the watched bytes, in their order; undefined where none did. */
  readonly writers: readonly (TracedInstruction | undefined)[];
}

export interface TraceOptions {
  /** What counts is where the follower stopped, not where it was nearest. */
  readonly toTheEnd?: boolean;
  /** Host offsets of bytes whose writers are wanted. */
  readonly watched?: readonly number[];
  /** So many instructions and no more. */
  readonly maximumInstructions?: number;
}

/** A trace under way. */
interface Tracing {
  readonly maximumInstructions: number;
  readonly rips: bigint[];
  readonly distance: LeaderDistance;
  readonly watches: { readonly hostOffset: number; value: number; writer: bigint | undefined }[];
}

/** Ends a run of the follower that leads nowhere. */
class Lost extends Error {}

export class Follower {
  readonly vcpu: SoftwareVcpu;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Jumps it was asked at, and instructions that ran one by one. */
  turns = 0;
  /** How often a page was the same but for accessed bits that the leader had set ahead. */
  adoptedPages = 0;
  private readonly leaderWords: Int32Array;
  private readonly ramBytes: number;
  private readonly host: VcpuHost;
  private readonly log: HostCallLog;
  private readonly settings: FollowerSettings;
  private readonly journal: PageJournal;
  private readonly code: CodeReader;
  /** Its state is looked at or set, which asks the host too. */
  private inspecting = false;

  // Where it began, and what it is to be given there.
  private start: VcpuState;
  private startVector = -1;
  private startNmi = false;
  private vector = -1;
  private nmi = false;

  // Where it is to go.
  private target: VcpuState;
  private readonly targetGprs = new Int32Array(32);
  private targetLow = 0;
  private targetHigh = 0;
  /** False when the leader has shut down: its last state is none that the follower stops at. */
  private meets = true;
  private met = false;
  private careful = false;
  private stepped = false;
  private turnsLeft = 0;
  /** Jumps in this attempt, and up to how many a meeting comes suspiciously soon. */
  private jumps = 0;
  private soonJumps = 0;
  /** The leader's registers were met, but not its memory. */
  private refused = false;
  /** Low half of RIP -> NO_WAY, or bytes of the count register (0 for one that is not repeated): see stepsTo(). */
  private readonly straight = new Map<number, number>();
  private straightCr3 = 0;
  private tracing: Tracing | undefined;
  /** Setting a state forgets what the guest wrote to the time-stamp counter: no way back from there. */
  private returns = true;

  /** `options` are the leader's; its memory is compared with, and its host asked for the task priority alone. */
  constructor(options: SoftwareVcpuOptions, log: HostCallLog, settings: FollowerSettings) {
    const { ramBytes } = options;
    this.host = options.host;
    this.log = log;
    this.settings = settings;
    this.ramBytes = ramBytes;
    this.leaderWords = new Int32Array(options.memory.buffer);
    const memory = createGuestMemory(ramBytes);
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.vcpu = new SoftwareVcpu({
      ...options,
      memory,
      host: this.vcpuHost(),
      pollInterval: 1,
      random: () => this.answer('random', 0, 8, undefined) as bigint,
      translateAfterSamples: Number.POSITIVE_INFINITY,
      translateSteps: false,
    });
    this.journal = new PageJournal(this.vcpu, memory, ramBytes);
    this.code = new CodeReader(this.vcpu, memory, ramBytes);
    this.start = this.getState();
    this.target = this.start;
  }

  getState(): VcpuState {
    return this.inspect(() => this.vcpu.getState());
  }

  /** The leader has been set to `state` too, and its RAM has been copied. */
  setState(state: VcpuState): void {
    this.inspect(() => this.vcpu.setState(state));
    this.vector = -1;
    this.nmi = false;
    this.returns = true;
    this.begin(state);
  }

  /** Takes bytes of RAM from the leader. */
  copy(guestPhysical: number, lengthBytes: number): void {
    const at = (GUEST_RAM_OFFSET + guestPhysical) / 4;
    if (guestPhysical % 4 === 0 && lengthBytes % 4 === 0) {
      this.words.set(this.leaderWords.subarray(at, at + lengthBytes / 4), at);
    } else {
      const from = new Uint8Array(this.leaderWords.buffer, GUEST_RAM_OFFSET + guestPhysical, lengthBytes);
      this.bytes.set(from, GUEST_RAM_OFFSET + guestPhysical);
    }
    this.vcpu.invalidateCode(guestPhysical, lengthBytes);
  }

  /** Takes what is different in all of RAM. */
  copyAll(): void {
    for (const page of findDifferingPages(this.leaderWords, this.words, this.ramBytes)) {
      this.copy(page * PAGE_BYTES, PAGE_BYTES);
    }
  }

  differingPages(): number[] {
    return findDifferingPages(this.leaderWords, this.words, this.ramBytes).filter((page) => !this.adopt(page));
  }

  /** Takes a page over if it differs only in accessed bits that the leader has set ahead of its execution. */
  private adopt(page: number): boolean {
    const { leaderWords, ramBytes } = this;
    if (!isAccessedAhead(this.words, leaderWords, page)) return false;
    const roots = [this.start, this.target].filter(isLongMode).map(({ cr3 }) => Number((cr3 >> 12n) & 0xfff_ffffn));
    if (!roots.some((root) => isPageTable(leaderWords, ramBytes, root, page))) return false;
    this.adoptedPages++;
    this.copy(page * PAGE_BYTES, PAGE_BYTES);
    return true;
  }

  /** Delivered before anything else runs. */
  deliver(vector: number): void {
    this.vector = vector;
    this.startVector = vector;
  }

  deliverNmi(): void {
    this.nmi = true;
    this.startNmi = true;
  }

  /**
   * Runs to where the leader stands. `exit`: how the leader's run ended, if it did; `leaderJumps`: about how many jumps
   * it took to there.
   */
  follow(target: VcpuState, exit: VcpuExit | undefined, leaderJumps: number): Meeting {
    this.setTarget(target);
    this.meets = exit?.kind !== 'shutdown';
    this.refused = false;
    this.soonJumps = leaderJumps / 4;
    const before = this.turns;
    this.careful = !this.meets || !this.returns;
    this.turnsLeft = this.careful ? this.settings.maximumTurns : this.settings.freeJumps;
    let meeting = this.attempt();
    if (meeting !== 'met' && !this.careful) {
      this.turns = before;
      this.goBack();
      this.careful = true;
      this.turnsLeft = this.settings.maximumTurns;
      meeting = this.attempt();
    }
    if (meeting === 'met') this.begin(target);
    return meeting;
  }

  /** Steps after the leader, whose step had this result. */
  step(target: VcpuState, result: StepResult): Meeting {
    try {
      if (!isSameResult(this.vcpu.step(), result)) return { kind: 'state' };
    } catch (error) {
      if (!(error instanceof UnexpectedHostCall)) throw error;
      return causeOf(error);
    }
    if (!this.log.consumed || !isSameState(target, this.getState())) return { kind: 'state' };
    const pages = this.changedPages();
    if (pages.length > 0) return { kind: 'memory', pages };
    this.begin(target);
    return 'met';
  }

  /** Pages that it has touched since the last meeting, or the leader may have, that are not the same. */
  changedPages(): number[] {
    const pages = new Set(this.journal.differences(this.leaderWords));
    everyWritablePage(this.leaderWords, (page) => {
      if (!isSamePage(this.words, this.leaderWords, page)) pages.add(page);
      return true;
    });
    return [...pages].filter((page) => !this.adopt(page));
  }

  /**
   * Goes back to the last meeting and runs from there, one instruction at a time, to where it cannot go on. What counts
   * is where it was nearest to `target`: among places with the same registers, where the memory was.
   */
  trace(target: VcpuState, options: TraceOptions = {}): Trace {
    this.goBack();
    this.setTarget(target);
    this.turnsLeft = this.settings.maximumTurns;
    const distance = new LeaderDistance(target);
    const rips: bigint[] = [];
    const watches = (options.watched ?? []).map((hostOffset) => ({
      hostOffset,
      value: this.bytes[hostOffset]!,
      writer: undefined as bigint | undefined,
    }));
    const maximumInstructions = options.maximumInstructions ?? Number.POSITIVE_INFINITY;
    this.tracing = { rips, distance, watches, maximumInstructions };
    try {
      this.vcpu.run();
    } catch (error) {
      if (!(error instanceof UnexpectedHostCall) && !(error instanceof Lost)) throw error;
    }
    this.tracing = undefined;
    const nearest = options.toTheEnd === true ? undefined : distance.best;
    const end = nearest?.instructions ?? rips.length;
    const last: { rip: bigint; times: number }[] = [];
    for (let k = end - 1; k >= 0 && last.length < this.settings.tracedInstructions; k--) {
      const rip = rips[k]!;
      if (last[0]?.rip === rip) last[0].times++;
      else last.unshift({ rip, times: 1 });
    }
    return {
      nearest: nearest?.state ?? this.getState(),
      count: end,
      instructions: last.map((one) => this.read(one.rip, one.times)),
      writers: watches.map(({ writer }) => (writer === undefined ? undefined : this.read(writer, 1))),
    };
  }

  private read(rip: bigint, times: number): TracedInstruction {
    return { rip, times, ...this.code.read(rip) };
  }

  private inspect<T>(look: () => T): T {
    this.inspecting = true;
    try {
      return look();
    } finally {
      this.inspecting = false;
    }
  }

  private begin(state: VcpuState): void {
    this.start = state;
    this.startVector = -1;
    this.startNmi = false;
    this.log.clear();
    this.journal.begin();
  }

  private goBack(): void {
    this.journal.restore();
    this.log.rewind();
    this.inspect(() => this.vcpu.setState(this.start));
    this.vector = this.startVector;
    this.nmi = this.startNmi;
  }

  private setTarget(target: VcpuState): void {
    this.target = target;
    this.targetLow = Number(target.rip & 0xffffffffn);
    this.targetHigh = Number(target.rip >> 32n);
    const view = new DataView(this.targetGprs.buffer);
    for (let k = 0; k < 16; k++) view.setBigUint64(8 * k, target.gpr[k]!, true);
    this.straight.clear();
  }

  private attempt(): Meeting {
    this.met = false;
    this.jumps = 0;
    let exit: VcpuExit | undefined;
    try {
      exit = this.vcpu.run();
    } catch (error) {
      if (error instanceof UnexpectedHostCall && !this.refused) return causeOf(error);
      if (!(error instanceof Lost) && !(error instanceof UnexpectedHostCall)) throw error;
    }
    if (this.met) return 'met';
    if (!this.meets && exit?.kind === 'shutdown' && isSameState(this.target, this.getState())) return 'met';
    if (this.refused) return { kind: 'memory', pages: this.changedPages() };
    return exit === undefined ? { kind: 'state' } : { kind: 'state', exit };
  }

  // Its host.

  private answer(
    name: Parameters<HostCallLog['next']>[0],
    place: number,
    sizeBytes: number,
    value: number | bigint | undefined,
  ): number | bigint | boolean | undefined {
    // When it is looked at or set, it has the leader's task priority.
    if (this.inspecting) return name === 'getCr8' ? this.host.getCr8() : undefined;
    const call = this.log.next(name, place, sizeBytes, value);
    if (name === 'writeMsr' && place === MSR.IA32_TIME_STAMP_COUNTER) this.returns = false;
    for (const { guestPhysical, bytes } of call.deviceWrites) {
      this.journal.keepRange(guestPhysical, bytes.length);
      this.bytes.set(bytes, GUEST_RAM_OFFSET + guestPhysical);
      this.vcpu.invalidateCode(guestPhysical, bytes.length);
    }
    return call.answer;
  }

  private vcpuHost(): VcpuHost {
    return {
      ...dataCalls(this.host, (name, place, sizeBytes, value) => this.answer(name, place, sizeBytes, value)),
      poll: () => (this.tracing === undefined ? this.poll() : this.pollTracing(this.tracing)),
      interruptPending: () => this.vector >= 0,
      acknowledgeInterrupt: () => {
        const { vector } = this;
        this.vector = -1;
        return vector;
      },
      takeNmi: () => {
        const { nmi } = this;
        this.nmi = false;
        return nmi;
      },
      // It halted where the leader did not: nothing will wake it.
      waitForInterrupt: () => {
        throw new Lost();
      },
    };
  }

  /** Before every turn: true when it has met the leader. Decides how far the turn goes. */
  private poll(): boolean {
    // Generated code asks, and when it has left for that, the run loop does once more.
    if (this.met) return true;
    this.turns++;
    if (!this.stepped) this.jumps++;
    this.stepped = false;
    const { cpu } = this.vcpu;
    // What is to be delivered comes first; then one instruction, for it may be the last.
    if (this.vector >= 0 || this.nmi) {
      this.vcpu.singleNext = true;
      return false;
    }
    const at = cpu.offset + STATE.rip.offset;
    const low = cpu.view.getUint32(at, true);
    if (cpu.view.getUint32(at + 4, true) === this.targetHigh) {
      if (low === this.targetLow && this.isAtTarget()) {
        this.met = true;
        return true;
      }
      const near = this.careful && (this.targetLow - low) >>> 0 < STRAIGHT_RUN_BYTES;
      this.stepped = near && this.stepsTo(low);
      if (this.stepped) this.vcpu.singleNext = true;
    }
    if (--this.turnsLeft < 0) throw new Lost();
    return false;
  }

  private isAtTarget(): boolean {
    if (!this.meets || !this.log.consumed) return false;
    const { cpu } = this.vcpu;
    const { view } = cpu;
    const { targetGprs } = this;
    const at = cpu.offset + gprOffset(0);
    for (let k = 0; k < 32; k++) if (view.getInt32(at + 4 * k, true) !== targetGprs[k]) return false;
    if (!isSameState(this.target, this.getState())) return false;
    this.refused = !this.hasLeaderMemory();
    return !this.refused;
  }

  /**
   * Looks at the pages that it has touched. Where it is there much sooner than the leader, that one may have come round
   * to the same registers, in a loop that counts in memory alone: then also at those that the leader may have.
   */
  private hasLeaderMemory(): boolean {
    const { words, leaderWords } = this;
    const same = (page: number): boolean => isSamePage(words, leaderWords, page);
    const soon = this.jumps < this.soonJumps;
    if (this.journal.isSame(leaderWords) && (!soon || everyWritablePage(leaderWords, same))) return true;
    return this.changedPages().length === 0;
  }

  /** Whether the next instruction is to run on its own: the leader's place may come before the next jump. */
  private stepsTo(low: number): boolean {
    const { cpu } = this.vcpu;
    const cr3 = cpu.getLow(STATE.cr3);
    if (cr3 !== this.straightCr3) {
      this.straightCr3 = cr3;
      this.straight.clear();
    }
    let known = this.straight.get(low);
    if (known === undefined) {
      const rip = cpu.get(STATE.rip);
      const falls = this.code.mayFallTo(rip, this.target.rip);
      // It faults now; the next time the page may be there.
      if (falls === undefined) return false;
      known = falls ? this.code.countBytes(rip) : NO_WAY;
      this.straight.set(low, known);
    }
    return known !== NO_WAY && !this.repeatsLong(known);
  }

  /**
   * At a repeated instruction with many turns to go, before the leader's place or at it: without single steps it does
   * up to REPEATED_AT_ONCE of them and comes back.
   */
  private repeatsLong(countBytes: number): boolean {
    if (countBytes === 0) return false;
    const { cpu } = this.vcpu;
    const there = cpu.get(STATE.rip) === this.target.rip ? this.target.gpr[RCX]! : 0n;
    return BigInt.asUintN(8 * countBytes, cpu.gpr(RCX) - there) > BigInt(REPEATED_AT_ONCE);
  }

  private pollTracing({ rips, distance, watches, maximumInstructions }: Tracing): boolean {
    const { vcpu } = this;
    const { cpu } = vcpu;
    for (const watch of watches) {
      const value = this.bytes[watch.hostOffset]!;
      if (value === watch.value) continue;
      watch.value = value;
      watch.writer = rips.at(-1);
    }
    const settled = this.vector < 0 && !this.nmi;
    if (settled && distance.measure(cpu, this.log.consumed, () => this.changedPages().length)) {
      distance.keep(this.getState(), rips.length);
    }
    if (rips.length >= maximumInstructions) throw new Lost();
    const rip = cpu.get(STATE.rip);
    rips.push(rip);
    if (!this.repeatsLong(this.code.countBytes(rip))) vcpu.singleNext = true;
    if (--this.turnsLeft < 0) throw new Lost();
    return false;
  }
}

const isLongMode = ({ cr0, efer }: VcpuState): boolean =>
  (Number(cr0) & CR0.PG) !== 0 && (Number(efer) & EFER.LMA) !== 0;

function causeOf({ asked, expected }: UnexpectedHostCall): DifferenceCause {
  return expected === undefined ? { kind: 'state', asked } : { kind: 'host-call', asked, expected };
}

function isSameResult(one: StepResult, other: StepResult): boolean {
  if (one.kind !== other.kind) return false;
  if (one.kind !== 'exception' || other.kind !== 'exception') return true;
  return one.vector === other.vector && one.errorCode === other.errorCode;
}
