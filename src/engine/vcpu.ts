// The contract between a machine and a virtual processor, whatever engine runs it.
//
// A Vcpu lives on one thread. While run() is on the stack it calls the VcpuHost for port I/O, MMIO, interrupts
// and time, synchronously and on that thread; it returns only for the reasons in VcpuExit.

import type { DirtyLog } from './dirty-log.ts';
import type { VcpuState } from './vcpu-state.ts';

/** What a processor needs of the machine around it. Calls are synchronous, on the processor's own thread. */
export interface VcpuHost {
  /** Reads 1, 2 or 4 bytes from a port; all ones where nobody answers. */
  readPort(port: number, sizeBytes: number): number;
  writePort(port: number, sizeBytes: number, value: number): void;
  /** Guest-physical accesses outside RAM. 1, 2 or 4 bytes; the engine splits larger ones. */
  readMmio(guestPhysical: number, sizeBytes: number): number;
  writeMmio(guestPhysical: number, sizeBytes: number, value: number): void;
  /** A vector that the local APIC or the PIC wants delivered now, acknowledged; -1 if there is none. */
  acknowledgeInterrupt(): number;
  /** True when acknowledgeInterrupt() would give a vector. */
  interruptPending(): boolean;
  /** Takes a pending NMI; false if there is none. */
  takeNmi(): boolean;
  /** Task priority, as CR8 shows it (0 to 15). */
  getCr8(): number;
  setCr8(value: number): void;
  /** MSRs that belong to devices: APIC base, x2APIC, TSC deadline, paravirtual clock. undefined or false: #GP. */
  readMsr(index: number): bigint | undefined;
  writeMsr(index: number, value: bigint): boolean;
  /**
   * Runs what is due: expired timers, input from other threads. Called at least every few hundred microseconds of
   * guest work. Returns true to make run() return with `interrupted`.
   */
  poll(): boolean;
  /** Sleeps until something may have changed (an interrupt, a timer, a request to stop); HLT with interrupts on. */
  waitForInterrupt(): void;
  /** The time-stamp counter, in ticks of tscHz, as a double. Monotonic. */
  readTsc(): number;
  /**
   * When poll() next has something to do by itself, for engines that cannot count the guest's work: they set an alarm.
   * Times are nanoseconds of a monotonic clock; Infinity is never. Without it they poll every half millisecond.
   */
  readonly deadline?: { nowNs(): number; nextNs(): number };
}

export type VcpuExit =
  /** poll() asked for it. */
  | { readonly kind: 'interrupted' }
  /** HLT with interrupts off: only an NMI or a reset ends it. */
  | { readonly kind: 'halted-forever' }
  /** A triple fault: the machine resets or stops. */
  | { readonly kind: 'shutdown'; readonly reason: string }
  /**
   * The engine met a state that it cannot run: a defect of its own, unless `hint` says what else to do. The message has
   * registers and the bytes at RIP.
   */
  | { readonly kind: 'internal-error'; readonly message: string; readonly hint?: string };

/** The outcome of one instruction, its exception (if any) intercepted instead of delivered. */
export type StepResult =
  | { readonly kind: 'retired' }
  | { readonly kind: 'exception'; readonly vector: number; readonly errorCode: number | undefined }
  | { readonly kind: 'exit'; readonly exit: VcpuExit };

export interface Vcpu {
  getState(): VcpuState;
  setState(state: VcpuState): void;
  /** Runs until an exit. */
  run(): VcpuExit;
  /**
   * Runs one instruction; an exception is reported, not delivered (CR2 and DR6 are set as usual). For tests and
   * debuggers.
   */
  step(): StepResult;
  /**
   * Another party changed guest RAM behind the engine's back: cached code of that range is dropped, and a dirty log
   * that is on has its pages.
   */
  invalidateCode(guestPhysical: number, lengthBytes: number): void;
  /** Pages that this processor writes, or, where the engine notes them for the whole VM, any of its processors. */
  readonly dirtyLog: DirtyLog;
  /** What the engine has counted so far, by name; names that end in `Ms` are times. */
  statistics?(): Readonly<Record<string, number>>;
  /** Gives back what the engine holds of the host (descriptors, mappings, timers); nothing may be called afterwards. */
  close?(): void;
}
