// The messages between the main thread of a VM process and its machine's thread.

import type { CpuModelName } from '../engine/kvm/cpu-model.ts';
import type { MachineConfig } from '../machine/config.ts';
import type { MachineExit, Statistics } from '../machine/machine.ts';

/** What the guest's code runs on. */
export type EngineChoice = { readonly name: 'software' } | { readonly name: 'kvm'; readonly cpuModel: CpuModelName };

export type ToMachine = { kind: 'start'; config: MachineConfig; engine: EngineChoice };

export type FromMachine =
  /** The kernel is loaded and about to run. */
  | { kind: 'started'; kernel: string }
  /** A ring has output, or room that main waits for. */
  | { kind: 'look' }
  /** Asked for by CONTROL.statistics. */
  | { kind: 'statistics'; statistics: Statistics }
  | { kind: 'ended'; exit: MachineExit; statistics: Statistics }
  /** The configuration cannot be run: a UserError, taken apart. */
  | { kind: 'refused'; message: string; hint: string | undefined; exitStatus: number };
