// What the clock chip holds between two accesses. Its time is kept as a difference to the wall clock.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';
import { CMOS, CMOS_SIZE_BYTES, REGISTER_B, REGISTER_D_VRT, RTC } from './wire.ts';

export const RTC_STATE_VERSION = 1;

export interface RtcState extends SavedState {
  index: number;
  nmiMasked: boolean;
  /** All 128 bytes; the time's own are current only while register B has SET. */
  cmos: number[];
  /** What the guest's clock is ahead of the wall clock. */
  offsetMs: number;
}

export function initialRtcState(ramSizeBytes: number): RtcState {
  const cmos = new Array<number>(CMOS_SIZE_BYTES).fill(0);
  cmos[RTC.A] = 0x26; // 32.768 kHz time base, 1024 Hz
  cmos[RTC.B] = REGISTER_B.HOURS_24;
  cmos[RTC.D] = REGISTER_D_VRT;
  const word = (at: number, value: number): void => {
    cmos[at] = value & 0xff;
    cmos[at + 1] = value >> 8;
  };
  const extendedKib = Math.min(0xffff, Math.max(0, Math.floor(ramSizeBytes / 1024) - 1024));
  cmos[CMOS.EQUIPMENT] = 0x02; // a floating-point unit
  word(CMOS.BASE_MEMORY, 640);
  word(CMOS.EXTENDED_MEMORY, extendedKib);
  word(CMOS.EXTENDED_MEMORY_COPY, extendedKib);
  word(CMOS.HIGH_MEMORY, Math.min(0xffff, Math.max(0, Math.floor(ramSizeBytes / 0x10000) - 256)));
  return { version: RTC_STATE_VERSION, index: 0, nmiMasked: false, cmos, offsetMs: 0 };
}

export function saveRtc(state: RtcState): RtcState {
  return { ...state, cmos: [...state.cmos] };
}

export function restoreRtc(state: RtcState): RtcState {
  requireStateVersion('rtc', state, RTC_STATE_VERSION);
  return saveRtc(state);
}
