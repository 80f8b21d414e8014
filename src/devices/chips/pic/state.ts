// What a pair of 8259As holds between two accesses.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';

export const PIC_STATE_VERSION = 1;

/** One 8259A. */
export interface ChipState {
  /** Levels of the eight inputs. */
  inputs: number;
  /** Rising edges that were latched and not acknowledged, for edge-triggered inputs. */
  edges: number;
  imr: number;
  isr: number;
  elcr: number;
  vectorBase: number;
  /** The input of lowest priority; the next one has the highest. */
  lowestPriority: number;
  /** Which ICW the data port takes next: 0 none, 2, 3 or 4. */
  expectedIcw: number;
  needsIcw4: boolean;
  single: boolean;
  autoEoi: boolean;
  rotateInAutoEoi: boolean;
  specialMask: boolean;
  specialFullyNested: boolean;
  readIsr: boolean;
  poll: boolean;
}

export interface PicState extends SavedState {
  chips: [master: ChipState, slave: ChipState];
}

export function initialChipState(): ChipState {
  return {
    inputs: 0,
    edges: 0,
    imr: 0,
    isr: 0,
    elcr: 0,
    vectorBase: 0,
    lowestPriority: 7,
    expectedIcw: 0,
    needsIcw4: false,
    single: false,
    autoEoi: false,
    rotateInAutoEoi: false,
    specialMask: false,
    specialFullyNested: false,
    readIsr: false,
    poll: false,
  };
}

export function savePic(master: ChipState, slave: ChipState): PicState {
  return { version: PIC_STATE_VERSION, chips: [{ ...master }, { ...slave }] };
}

export function restorePic(state: PicState, master: ChipState, slave: ChipState): void {
  requireStateVersion('pic', state, PIC_STATE_VERSION);
  Object.assign(master, state.chips[0]);
  Object.assign(slave, state.chips[1]);
}
