// A processor in a loop, and a host that interrupts it. The guest's handler reads the time-stamp counter and tells the
// host that it has come; what the host does at a poll and what it learns then is up to who uses this.

import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import type { TranslationPort } from '../../src/engine/software/translation.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Guest, PLACE, RAM_BYTES, REGISTERS } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import type { LoopShape } from './loop-shapes.ts';

const VECTOR = 0x20;
const TOLD_PORT = 0x80;
const RCX = 1;

export interface InterruptedLoopOptions {
  readonly shape: LoopShape;
  /** Of SoftwareVcpuOptions. */
  readonly translateAfterSamples?: number;
  readonly pollInterval?: number;
  /** After which it halts; without it, it does not end. */
  readonly turns?: number;
  readonly translation?: (memory: WebAssembly.Memory) => TranslationPort;
  /** At every poll: whether an interrupt is due. */
  isDue(): boolean;
  /** Ticks that the guest reads from its time-stamp counter. */
  readTsc(): number;
  /** The handler runs: the ticks that it has read; true ends the loop. */
  handled(tsc: number): boolean;
}

export class InterruptedLoop extends IdleHost {
  readonly vcpu: SoftwareVcpu;
  private readonly options: InterruptedLoopOptions;
  private readonly guest: Guest;
  private readTscLast = 0;
  private raised = false;

  constructor(options: InterruptedLoopOptions) {
    super();
    this.options = options;
    const memory = createGuestMemory(RAM_BYTES);
    const { shape, translateAfterSamples, pollInterval } = options;
    this.vcpu = new SoftwareVcpu({
      memory,
      ramBytes: RAM_BYTES,
      host: this,
      cpuid: { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 },
      ...(translateAfterSamples !== undefined && { translateAfterSamples }),
      ...(pollInterval !== undefined && { pollInterval }),
      ...(options.translation !== undefined && { translation: options.translation(memory) }),
    });
    const target = { vcpu: this.vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES) };
    this.guest = new Guest(target, this, shape.mode, new Uint8Array(shape.code));
    this.guest.state.rflags |= 0x200n;
    shape.prepare(this.guest);
    this.guest.setRegister(this.counter, BigInt(options.turns ?? 0));
    // push rax; push rdx; rdtsc; out TOLD_PORT, al; pop rdx; pop rax; iret
    const handler = [0x50, 0x52, 0x0f, 0x31, 0xe6, TOLD_PORT, 0x5a, 0x58, 0x48, 0xcf];
    if (shape.mode === 'real16' || shape.mode === 'kernel32') handler.splice(8, 1);
    target.memory.write(PLACE.HANDLERS + VECTOR * 16, new Uint8Array(handler));
  }

  private get counter(): string {
    const { mode } = this.options.shape;
    return mode === 'kernel32' || mode === 'real16' ? 'rdi' : 'rbp';
  }

  /** Returns when `handled` has ended the loop, or when its turns are over. */
  run(): void {
    this.guest.start();
    const exit = this.guest.run();
    if (exit.kind === 'interrupted' || exit.kind === 'halted-forever') return;
    throw new Error(`${this.options.shape.name}: ${JSON.stringify(exit)}\n${this.vcpu.describe()}`);
  }

  /** While `handled` runs: turns that are left, and elements that a string instruction has left of its turn. */
  left(): { turns: number; elements: number } {
    const { cpu } = this.vcpu;
    return { turns: Number(cpu.gpr(REGISTERS.indexOf(this.counter))), elements: Number(cpu.gpr(RCX)) };
  }

  /** Elements of a turn. */
  get elements(): number {
    return Number(this.guest.state.gpr[REGISTERS.indexOf('r10')]);
  }

  override poll(): boolean {
    this.raised ||= this.options.isDue();
    return this.stopRequested;
  }

  override interruptPending(): boolean {
    return this.raised;
  }

  override acknowledgeInterrupt(): number {
    this.raised = false;
    return VECTOR;
  }

  override readTsc(): number {
    this.readTscLast = this.options.readTsc();
    return this.readTscLast;
  }

  override writePort(port: number): void {
    if (port === TOLD_PORT && this.options.handled(this.readTscLast)) this.stopRequested = true;
  }
}
