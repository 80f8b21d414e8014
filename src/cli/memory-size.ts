// Sizes of memory as people write them: 512M, 1G, 262144K.

import { EXIT_STATUS, UserError } from '../base/errors.ts';
import {
  MAXIMUM_RAM_BYTES,
  MINIMUM_CODE_CACHE_BYTES,
  MINIMUM_RAM_BYTES,
  RAM_GRANULE_BYTES,
} from '../machine/config.ts';

const UNIT_BYTES: Record<string, number> = { k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** Guest RAM in bytes. Throws UserError for what is no size, or none that a machine can have. */
export function parseMemorySize(text: string): number {
  const bytes = parseSize(text);
  if (bytes < MINIMUM_RAM_BYTES) {
    throw usageError(`${text} is too little memory`, `a guest needs ${formatMemorySize(MINIMUM_RAM_BYTES)} or more`);
  }
  if (bytes > MAXIMUM_RAM_BYTES) {
    throw usageError(`${text} is too much memory`, `a guest can have up to ${formatMemorySize(MAXIMUM_RAM_BYTES)}`);
  }
  return Math.floor(bytes / RAM_GRANULE_BYTES) * RAM_GRANULE_BYTES;
}

/** Machine code in bytes. Throws UserError as above. */
export function parseCodeCacheSize(text: string): number {
  const bytes = Math.floor(parseSize(text));
  if (bytes >= MINIMUM_CODE_CACHE_BYTES) return bytes;
  throw usageError(
    `${text} is too little for machine code`,
    `give ${formatMemorySize(MINIMUM_CODE_CACHE_BYTES)} or more`,
  );
}

function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmg])(?:i?b)?$/i.exec(text.trim());
  if (match === null) {
    throw usageError(`not a size of memory: ${text}`, 'give a number with K, M or G behind it, such as 512M');
  }
  return Number(match[1]) * UNIT_BYTES[match[2]!.toLowerCase()]!;
}

/** In GiB where that is a whole number, else in MiB. */
export function formatMemorySize(bytes: number): string {
  const gib = bytes / 1024 ** 3;
  return Number.isInteger(gib) ? `${gib} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`;
}

function usageError(message: string, hint: string): UserError {
  return new UserError(message, { hint, exitStatus: EXIT_STATUS.usage });
}
