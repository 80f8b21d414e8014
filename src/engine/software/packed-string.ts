// The comparison of PCMPESTRM, PCMPESTRI, PCMPISTRM and PCMPISTRI (Intel SDM volume 2, 4.1).

import { SCRATCH_OFFSET } from '../../ir/guest-state.ts';
import { IMPLICIT_LENGTH } from '../../ir/sse-operations.ts';

const CF = 0x001;
const ZF = 0x040;
const SF = 0x080;
const OF = 0x800;

const AGGREGATION = { EQUAL_ANY: 0, RANGES: 1, EQUAL_EACH: 2, EQUAL_ORDERED: 3 } as const;

const first = new Int32Array(16);
const second = new Int32Array(16);

/** Takes a string apart and gives the number of its valid elements. */
function unpack(view: DataView, offset: number, format: number, elements: Int32Array, length: number): number {
  const wide = (format & 1) !== 0;
  const signed = (format & 2) !== 0;
  const count = wide ? 8 : 16;
  let end = count;
  for (let k = 0; k < count; k++) {
    let element: number;
    if (wide) element = signed ? view.getInt16(offset + k * 2, true) : view.getUint16(offset + k * 2, true);
    else element = signed ? view.getInt8(offset + k) : view.getUint8(offset + k);
    elements[k] = element;
    if (element === 0 && end === count) end = k;
  }
  return length === IMPLICIT_LENGTH ? end : Math.min(Math.abs(length), count);
}

/** One bit for each element of the second string: the manual's IntRes1. */
function compare(aggregation: number, count: number, firstLength: number, secondLength: number): number {
  let result = 0;
  switch (aggregation) {
    case AGGREGATION.EQUAL_ANY:
      for (let j = 0; j < secondLength; j++) {
        for (let i = 0; i < firstLength; i++) if (first[i] === second[j]) result |= 1 << j;
      }
      return result;
    case AGGREGATION.RANGES:
      for (let j = 0; j < secondLength; j++) {
        for (let i = 0; i + 1 < firstLength; i += 2) {
          if (first[i]! <= second[j]! && second[j]! <= first[i + 1]!) result |= 1 << j;
        }
      }
      return result;
    case AGGREGATION.EQUAL_EACH:
      for (let j = 0; j < count; j++) {
        const valid = j < firstLength && j < secondLength;
        if (valid ? first[j] === second[j] : j >= firstLength && j >= secondLength) result |= 1 << j;
      }
      return result;
    default:
      for (let j = 0; j < count; j++) {
        let equal = true;
        for (let i = 0; i < firstLength && i + j < count; i++) {
          if (i + j >= secondLength || first[i] !== second[i + j]) equal = false;
        }
        if (equal) result |= 1 << j;
      }
      return result;
  }
}

/**
 * Compares the strings in scratch slots 0 and 1 as the immediate says. Lengths count elements, their sign ignored, or
 * are IMPLICIT_LENGTH for strings that end with a zero element. Returns the index in bits 31:16 and CF, ZF, SF and OF
 * in their EFLAGS places; the mask goes to scratch slot 0.
 */
export function compareStrings(
  view: DataView,
  cpuBase: number,
  immediate: number,
  firstLength: number,
  secondLength: number,
): number {
  const scratch = cpuBase + SCRATCH_OFFSET;
  const count = (immediate & 1) !== 0 ? 8 : 16;
  const length1 = unpack(view, scratch, immediate & 3, first, firstLength);
  const length2 = unpack(view, scratch + 16, immediate & 3, second, secondLength);
  const compared = compare((immediate >> 2) & 3, count, length1, length2);
  const every = (1 << count) - 1;
  const valid = (1 << length2) - 1;
  const inverted = (immediate & 0x10) === 0 ? 0 : (immediate & 0x20) === 0 ? every : valid;
  const result = compared ^ inverted;
  const fromTop = (immediate & 0x40) !== 0;

  if (fromTop) {
    for (let k = 0; k < 16; k++) {
      const bit = count === 8 ? k >> 1 : k;
      view.setUint8(scratch + k, (result >> bit) & 1 ? 0xff : 0);
    }
  } else {
    view.setUint32(scratch, result, true);
    view.setUint32(scratch + 4, 0, true);
    view.setUint32(scratch + 8, 0, true);
    view.setUint32(scratch + 12, 0, true);
  }
  let index = count;
  if (result !== 0) index = 31 - Math.clz32(fromTop ? result : result & -result);
  let flags = index << 16;
  if (result !== 0) flags |= CF;
  if (length2 < count) flags |= ZF;
  if (length1 < count) flags |= SF;
  if ((result & 1) !== 0) flags |= OF;
  return flags;
}
