// The 8254's state to and from KVM's. KVM starts a count anew when it is set: how far it had come is lost on the way
// in.

import {
  type CounterState,
  initialCounterState,
  PIT_STATE_VERSION,
  type PitState,
} from '../../devices/chips/pit/state.ts';
import { ACCESS, PIT_FREQUENCY_HZ, PIT_MODE, SYSTEM_CONTROL_B } from '../../devices/chips/pit/wire.ts';
import { KVM_PIT_FLAGS_SPEAKER_DATA_ON } from '../../engine/kvm/ioctls.ts';
import { StructBuffer } from '../../engine/kvm/struct-layout.ts';
import * as structs from '../../engine/kvm/structs.ts';

/** What read_state, write_state and count_latched say: which byte is next. */
const RW_STATE = { NONE: 0, LSB: 1, MSB: 2, WORD0: 3, WORD1: 4 } as const;
/** KVM's mode of a counter before its first control word. */
const NO_MODE = 0xff;
const COUNTERS = [0, 1, 2] as const;

/** The state of a byte order; `second`: the low byte of a word is through. */
const orderOf = (access: number, second: boolean): number =>
  access === ACCESS.LOW_THEN_HIGH ? (second ? RW_STATE.WORD1 : RW_STATE.WORD0) : access;

export function pitBuffer(state: PitState): StructBuffer {
  const buffer = new StructBuffer(structs.kvm_pit_state2);
  for (const index of COUNTERS) {
    const counter = state.counters[index]!;
    const set = (member: string, value: number): void => buffer.set(`channels[${index}].${member}`, value);
    set('count', counter.nextReload > 0 ? counter.nextReload : counter.reload);
    set('latched_count', counter.latch);
    set('count_latched', latchOf(counter));
    set('status_latched', counter.statusLatch >= 0 ? 1 : 0);
    set('status', Math.max(0, counter.statusLatch));
    set('read_state', orderOf(counter.access, counter.readHigh));
    set('write_state', orderOf(counter.access, counter.writeLow >= 0));
    set('write_latch', Math.max(0, counter.writeLow));
    set('rw_mode', counter.access);
    set('mode', counter.mode < 0 ? NO_MODE : counter.mode);
    set('bcd', counter.bcd ? 1 : 0);
    set('gate', counter.gate ? 1 : 0);
  }
  const speaker = (state.systemControlB & SYSTEM_CONTROL_B.SPEAKER) !== 0;
  buffer.set('flags', speaker ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0);
  return buffer;
}

function latchOf({ access, latchBytes }: CounterState): number {
  if (latchBytes === 0) return RW_STATE.NONE;
  if (access !== ACCESS.LOW_THEN_HIGH) return access;
  return latchBytes === 2 ? RW_STATE.WORD0 : RW_STATE.MSB;
}

/**
 * `nowNs`: the host's CLOCK_MONOTONIC, by which KVM notes when a count was loaded; it does not tell that of counter 0,
 * whose count begins anew here, so that an interrupt that it still owes comes late rather than never.
 */
export function readPit(buffer: StructBuffer, nowNs: bigint): PitState {
  const counters = COUNTERS.map((index): CounterState => {
    const get = (member: string): number => buffer.get(`channels[${index}].${member}`);
    const mode = get('mode');
    const latch = get('count_latched');
    const isLoaded = mode !== NO_MODE;
    const loadedNs = BigInt.asIntN(64, buffer.get64(`channels[${index}].count_load_time`));
    return {
      ...initialCounterState(get('gate') !== 0),
      mode: isLoaded ? mode : -1,
      access: get('rw_mode') === 0 ? ACCESS.LOW_THEN_HIGH : get('rw_mode'),
      bcd: get('bcd') !== 0,
      reload: isLoaded ? get('count') : 0,
      triggered: true,
      startNs: isLoaded && index !== 0 ? Number(nowNs - loadedNs) : 0,
      writeLow: get('write_state') === RW_STATE.WORD1 ? get('write_latch') : -1,
      readHigh: get('read_state') === RW_STATE.WORD1,
      latch: get('latched_count'),
      latchBytes: latch === RW_STATE.NONE ? 0 : latch === RW_STATE.WORD0 ? 2 : 1,
      statusLatch: get('status_latched') === 0 ? -1 : get('status'),
    };
  });
  const gate = counters[2]!.gate ? SYSTEM_CONTROL_B.GATE_2 : 0;
  const speaker = (buffer.get('flags') & KVM_PIT_FLAGS_SPEAKER_DATA_ON) === 0 ? 0 : SYSTEM_CONTROL_B.SPEAKER;
  return { version: PIT_STATE_VERSION, counters, systemControlB: gate | speaker, out0: isOutputHigh(counters[0]!) };
}

/** Output of counter 0, which KVM has as pulses only: high but for a terminal count that is still to come. */
function isOutputHigh({ mode, reload, startNs }: CounterState): boolean {
  if (mode < 0) return false;
  return mode !== PIT_MODE.INTERRUPT_ON_TERMINAL_COUNT || startNs * PIT_FREQUENCY_HZ >= reload * 1e9;
}
