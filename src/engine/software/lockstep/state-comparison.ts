// Two processors' states side by side. What is not architectural is left out: an interrupt shadow is over before
// anybody could look, and how it is kept differs between one instruction at a time and many.

import { GPR_NAMES_64 } from '../../../isa/registers.ts';
import { SEGMENT_NAMES, type VcpuState } from '../../vcpu-state.ts';

export interface StateRow {
  readonly name: string;
  readonly leader: string;
  readonly follower: string;
}

const hex = (value: bigint | number): string => BigInt(value).toString(16).padStart(16, '0');

const CONTROL_NAMES = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'xcr0'] as const;
const DEBUG_NAMES = ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const;

/** Every compared part of a state as text, by name. */
function describeParts(state: VcpuState): Map<string, string> {
  const parts = new Map<string, string>();
  GPR_NAMES_64.forEach((name, index) => {
    parts.set(name, hex(state.gpr[index]!));
  });
  parts.set('rip', hex(state.rip));
  parts.set('rflags', hex(state.rflags));
  for (const name of SEGMENT_NAMES) {
    const { selector, base, limit, attributes } = state.segments[name];
    parts.set(
      name,
      `${selector.toString(16)} base ${base.toString(16)} limit ${limit.toString(16)} ${attributes.toString(16)}`,
    );
  }
  for (const name of ['gdtr', 'idtr'] as const) {
    parts.set(name, `base ${state[name].base.toString(16)} limit ${state[name].limit.toString(16)}`);
  }
  for (const name of CONTROL_NAMES) parts.set(name, hex(state[name]));
  for (const name of DEBUG_NAMES) parts.set(name, hex(state.debug[name]));
  for (const [index, value] of state.msrs) parts.set(`msr ${index.toString(16)}`, hex(value));
  const { xsave } = state;
  const bytesAt = (offset: number, length: number): string =>
    [...xsave.subarray(offset, offset + length)]
      .reverse()
      .map((byte) => byte.toString(16).padStart(2, '0'))
      .join('');
  // SDM volume 1, table 10-2.
  parts.set('fcw', bytesAt(0, 2));
  parts.set('fsw', bytesAt(2, 2));
  parts.set('ftw', bytesAt(4, 1));
  parts.set('fop', bytesAt(6, 2));
  parts.set('fip', bytesAt(8, 8));
  parts.set('fdp', bytesAt(16, 8));
  parts.set('mxcsr', bytesAt(24, 4));
  for (let k = 0; k < 8; k++) parts.set(`st${k}`, bytesAt(32 + 16 * k, 10));
  for (let k = 0; k < 16; k++) parts.set(`xmm${k}`, bytesAt(160 + 16 * k, 16));
  parts.set('halted', String(state.events.halted));
  parts.set('nmi blocked', String(state.events.nmiBlocked));
  return parts;
}

/** Rows of a table: all general registers, and of the rest what differs. */
export function tabulateStates(leader: VcpuState, follower: VcpuState): StateRow[] {
  const [one, other] = [describeParts(leader), describeParts(follower)];
  const always = new Set<string>([...GPR_NAMES_64, 'rip', 'rflags']);
  return [...new Set([...one.keys(), ...other.keys()])]
    .map((name) => ({ name, leader: one.get(name) ?? 'none', follower: other.get(name) ?? 'none' }))
    .filter((row) => always.has(row.name) || row.leader !== row.follower);
}

/** Names of the parts that differ. */
export function findStateDifferences(leader: VcpuState, follower: VcpuState): string[] {
  const [one, other] = [describeParts(leader), describeParts(follower)];
  return [...new Set([...one.keys(), ...other.keys()])].filter((name) => one.get(name) !== other.get(name));
}

/** The same answer as an empty findStateDifferences, quickly. */
export function isSameState(one: VcpuState, other: VcpuState): boolean {
  for (let k = 0; k < 16; k++) if (one.gpr[k] !== other.gpr[k]) return false;
  if (one.rip !== other.rip || one.rflags !== other.rflags) return false;
  for (const name of SEGMENT_NAMES) {
    const [a, b] = [one.segments[name], other.segments[name]];
    const same = a.selector === b.selector && a.base === b.base && a.limit === b.limit;
    if (!same || a.attributes !== b.attributes) return false;
  }
  for (const name of ['gdtr', 'idtr'] as const) {
    if (one[name].base !== other[name].base || one[name].limit !== other[name].limit) return false;
  }
  for (const name of CONTROL_NAMES) if (one[name] !== other[name]) return false;
  for (const name of DEBUG_NAMES) if (one.debug[name] !== other.debug[name]) return false;
  if (one.msrs.size !== other.msrs.size) return false;
  for (const [index, value] of one.msrs) if (other.msrs.get(index) !== value) return false;
  // Reserved bytes and the header are the same for both by construction.
  for (let k = 0; k < 416; k++) if (one.xsave[k] !== other.xsave[k]) return false;
  return one.events.halted === other.events.halted && one.events.nmiBlocked === other.events.nmiBlocked;
}
