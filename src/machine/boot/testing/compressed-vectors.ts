// One text and what the reference tools make of it: dense with CALL and JMP opcodes, so that the x86 filter has work.
// Made by `xz --x86 --check=crc32 --lzma2=dict=1MiB`, `xz --format=lzma -9` and `lz4 -l -9`.

const fromBase64 = (...lines: string[]): Uint8Array => Uint8Array.from(Buffer.from(lines.join(''), 'base64'));

export const PLAIN = fromBase64(
  'dGhlIHF1aWNrIHRoZSBxdWljayB0aGUgcXVpY2sgdGhlIHF1aWNrIHRoZSBxdWljayB0aGUgcXVpY2sg6QABAAB0aGUgcXVpY2sg',
  '6QABAP/o6OnodGhlIHF1aWNrIOkAAQAA6AABAAB0aGUgcXVpY2sg6AD///90aGUgcXVpY2sg6Oh0aGUgcXVpY2sgdGhlIHF1aWNr',
  'IOlFIwEAdGhlIHF1aWNrIOkA//8A6OnpdGhlIHF1aWNrIOjp6XRoZSBxdWljayDoAP///+kA////6egAAQAAdGhlIHF1aWNrIHRo',
  'ZSBxdWljayB0aGUgcXVpY2sg6QD////pAP//AOjpAAEA/+gA////6AABAP90aGUgcXVpY2sg6AAAAP/pAP///3RoZSBxdWljayDo',
  'RSMB/3RoZSBxdWljayDoRSMBAOkAAQAAdGhlIHF1aWNrIOkAAQD/dGhlIHF1aWNrIHRoZSBxdWljayDpAP///+jpdGhlIHF1aWNr',
  'IOnp6QD////pAAAA/+lFIwH/dGhlIHF1aWNrIA==',
);

export const XZ = fromBase64(
  '/Td6WFoAAAFpIt42AgEEACEBEACLIW9J4AGSAJFdADoaCM52x+Xp1gc1hV+uDzzQqvCwQ/BMKe/w0f1jffl+cRR0DOCcc+UQeprO',
  'zQYo6s/VtVxNYfIgExGTDXRmlYy5ooEl68eBxsgfIxPvZteVvhcQYW3vSNU4a44V27GO3uWYrt8+PJdRFXJ1M11spTBz2kZ4SJ0O',
  '6JMoUufU1mWWGXVjyGkmOV9irN6l5ggYVAAAAAAAgocuBwABqQGTAwAAWE2VbT4wDYsCAAAAAAFZWg==',
);

export const LZMA = fromBase64(
  'XQAAAAT//////////wA6GgjOdsfl6dYHNYVfrg3Rwso1A5JGlS0aQ0ygoPblq7npARX+MGu5/8j2TRSz16yGL6klq9x+lbm0ICGT',
  'by6Eo/etn+1zqyXJFcq2wJmhL+JHLqfRKwzCtl4hyQSbd0Xl6ryi3cvQzr/9gZH0',
);

export const LZ4 = fromBase64(
  'AiFMGIsAAACvdGhlIHF1aWNrIAoAH1rpAAEAAA8AW//o6OnoIgAa6CcAV+gA////DwAf6FsAAjlFIwFbAGf//wDo6ek3ACvp6VMA',
  'EekFAAttAA+3AAMDLgAiAOizAAAQAAA4AAiWAFsAAAD/6aoAO0UjAQ8AHwADAQEPdAAGF+izACPp6YcAAGgABVkAUHVpY2sg',
);
