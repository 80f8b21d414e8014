// Where functions begin, as far as the bytes before tell: compilers align them and fill the gap with NOPs or INT3, and
// what lies before the gap does not fall through. A guess: whoever asks looks whether the code from there leads to the
// place that it is wanted for.

/** Compilers align functions by so much at least. */
export const FUNCTION_ALIGNMENT_BYTES = 16;

/** What compilers and assemblers fill gaps with: NOPs (Intel SDM volume 2B, NOP) and prefixes of them, and INT3. */
const PADDING = [
  '662e0f1f840000000000',
  '2e0f1f840000000000',
  '0f1f840000000000',
  '0f1f8000000000',
  '660f1f440000',
  '0f1f440000',
  '0f1f4000',
  '0f1f00',
  '6690',
  '66',
  '90',
  'cc',
].map((hex) => Uint8Array.from(hex.match(/../g)!, (byte) => Number.parseInt(byte, 16)));

const RET = 0xc3;
const JMP_REL32 = 0xe9;
const JMP_REL8 = 0xeb;
const UD2 = [0x0f, 0x0b] as const;

/** Whether a function seems to begin at `offset`: a multiple of FUNCTION_ALIGNMENT_BYTES, with code before it. */
export function beginsFunction(bytes: Uint8Array, offset: number): boolean {
  if (offset % FUNCTION_ALIGNMENT_BYTES !== 0) return false;
  const endsWith = (end: number, tail: ArrayLike<number>): boolean => {
    for (let k = 1; k <= tail.length; k++) if (bytes[end - k] !== tail[tail.length - k]) return false;
    return true;
  };
  let end = offset;
  for (;;) {
    const padding = PADDING.find((one) => endsWith(end, one));
    if (padding === undefined) break;
    end -= padding.length;
  }
  return bytes[end - 1] === RET || bytes[end - 5] === JMP_REL32 || bytes[end - 2] === JMP_REL8 || endsWith(end, UD2);
}
