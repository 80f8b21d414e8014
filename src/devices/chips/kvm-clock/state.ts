// What one processor's paravirtual clock holds. MSR values are hexadecimal strings, as they have 64 bits.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';

export const KVM_CLOCK_STATE_VERSION = 1;

export interface KvmClockState extends SavedState {
  wallClock: string;
  systemTime: string;
  /** The guest's system time when it was saved. */
  systemTimeNs: number;
}

export function saveKvmClock(wallClock: bigint, systemTime: bigint, systemTimeNs: number): KvmClockState {
  return {
    version: KVM_CLOCK_STATE_VERSION,
    wallClock: wallClock.toString(16),
    systemTime: systemTime.toString(16),
    systemTimeNs,
  };
}

export function restoreKvmClock(state: KvmClockState): { wallClock: bigint; systemTime: bigint } {
  requireStateVersion('kvm-clock', state, KVM_CLOCK_STATE_VERSION);
  return { wallClock: BigInt(`0x${state.wallClock}`), systemTime: BigInt(`0x${state.systemTime}`) };
}
