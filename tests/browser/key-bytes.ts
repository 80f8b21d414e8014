// What a terminal sends for a key (as xterm does): the guest's serial line gets these bytes.

/** The part of a KeyboardEvent that counts. */
export interface Key {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly altKey: boolean;
  readonly metaKey: boolean;
}

const NAMED: Readonly<Record<string, string>> = {
  Enter: '\r',
  Backspace: '\x7f',
  Tab: '\t',
  Escape: '\x1b',
  ArrowUp: '\x1b[A',
  ArrowDown: '\x1b[B',
  ArrowRight: '\x1b[C',
  ArrowLeft: '\x1b[D',
  Home: '\x1b[H',
  End: '\x1b[F',
  Delete: '\x1b[3~',
};

/** undefined: the key is the browser's. */
export function bytesOfKey({ key, ctrlKey, altKey, metaKey }: Key): Uint8Array | undefined {
  if (metaKey) return undefined;
  const named = NAMED[key];
  if (named !== undefined) return new TextEncoder().encode(named);
  // A modifier alone, a function key, a dead key: they have names.
  if ([...key].length !== 1) return undefined;
  if (ctrlKey) return altKey ? undefined : controlCode(key);
  return new TextEncoder().encode(altKey ? `\x1b${key}` : key);
}

/** Ctrl with @, a letter, or one of [ \ ] ^ _. Ctrl-V is the browser's: it pastes. */
function controlCode(key: string): Uint8Array | undefined {
  const code = key.toUpperCase().charCodeAt(0);
  return key.toLowerCase() !== 'v' && code >= 0x40 && code <= 0x5f ? Uint8Array.of(code & 0x1f) : undefined;
}
