// What one run adds to a guest image, and the lines that host and guest exchange about a command.
// The overlay is a second cpio archive: the kernel unpacks archives that follow each other one over the other.
// The guest's half is guest-init.sh:
//   ttyS1  guest to host: the command's output, raw bytes
//   ttyS2  guest to host, lines: `read` asks for one frame of input, `exit <status>` says that the command has ended
//   ttyS3  host to guest: frames of input; guest to host: the command's errors, where they are wanted apart

import { type CpioEntry, writeCpio } from './cpio.ts';

export interface RunOptions {
  /** Where the command's standard input comes from: `serial`, frames over ttyS3; `null`, nothing (default). */
  stdin?: 'serial' | 'null';
  /** Where its standard error goes: together with its output (`ttyS1`, default), or apart. */
  stderr?: 'ttyS1' | 'ttyS3';
  /** Runs the command on the console with job control, as a terminal program wants it, instead of on ttyS1 to ttyS3. */
  terminal?: boolean;
  /** Size of the console, in character cells. */
  rows?: number;
  columns?: number;
  /** Name of the terminal's type, as in the host's TERM. */
  term?: string;
}

export interface OverlayFile {
  /** Absolute path in the guest. */
  path: string;
  /** `file` by default. */
  type?: 'file' | 'symlink';
  /** A file's bytes, or a symbolic link's target. */
  data: Uint8Array | string;
  /** Permission bits; 0o644 by default. A symbolic link's mean nothing. */
  mode?: number;
}

export interface Overlay {
  /** The command and its arguments; an interactive shell where there is none. */
  command?: readonly string[];
  options?: RunOptions;
  /** Further files, written over the image's. */
  files?: readonly OverlayFile[];
}

/** An archive to append to a guest image's initramfs as it is: its length and the image's are multiples of 512. */
export function createOverlay(overlay: Overlay): Uint8Array {
  const { command, options = {}, files = [] } = overlay;
  const settings = [
    `MODE=${command === undefined ? 'shell' : options.terminal === true ? 'terminal' : 'command'}`,
    `STDIN=${options.stdin ?? 'null'}`,
    `STDERR=${options.stderr ?? 'ttyS1'}`,
  ];
  if (options.rows !== undefined && options.columns !== undefined) {
    settings.push(`ROWS=${Math.trunc(options.rows)}`, `COLUMNS=${Math.trunc(options.columns)}`);
  }
  if (options.term !== undefined) settings.push(`TERM=${quote(options.term)}`);
  if (command !== undefined) settings.push(`set -- ${command.map(quote).join(' ')}`);
  const run: OverlayFile = { path: '/etc/bulkhead/run', data: `${settings.join('\n')}\n` };
  return writeCpio(entriesOf([...files, run]));
}

function* entriesOf(files: readonly OverlayFile[]): Generator<CpioEntry> {
  const made = new Set<string>();
  for (const file of files) {
    const parts = file.path.split('/').filter((part) => part !== '');
    for (let depth = 1; depth < parts.length; depth++) {
      const path = parts.slice(0, depth).join('/');
      if (made.has(path)) continue;
      made.add(path);
      yield { path, type: 'directory', mode: 0o755 };
    }
    yield { path: parts.join('/'), type: file.type ?? 'file', mode: file.mode ?? 0o644, data: file.data };
  }
}

/** A word that a POSIX shell reads back as exactly this string. */
function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** The most bytes of input that one frame may hold: the guest's serial driver buffers this much without loss. */
export const MAX_INPUT_FRAME_BYTES = 16 * 1024;

/** The frame that answers one `read` request: 1 to MAX_INPUT_FRAME_BYTES bytes, or none for the end of the input. */
export function encodeInputFrame(bytes: Uint8Array): Uint8Array {
  if (bytes.length > MAX_INPUT_FRAME_BYTES) throw new RangeError(`an input frame of ${bytes.length} bytes is too long`);
  const header = new TextEncoder().encode(`${bytes.length}\n`);
  const frame = new Uint8Array(header.length + bytes.length);
  frame.set(header);
  frame.set(bytes, header.length);
  return frame;
}

export type GuestRequest = { kind: 'read' } | { kind: 'exit'; status: number };

/** Takes what the guest sends on ttyS2, in pieces of any size, and gives back the requests that they complete. */
export class GuestRequestDecoder {
  private line = '';

  push(bytes: Uint8Array): GuestRequest[] {
    const requests: GuestRequest[] = [];
    for (const byte of bytes) {
      const character = String.fromCharCode(byte);
      if (character !== '\n') {
        // No request is longer; a guest that sends anything else cannot make the host keep it.
        if (this.line.length < 64) this.line += character;
        continue;
      }
      const request = parseRequest(this.line);
      if (request !== undefined) requests.push(request);
      this.line = '';
    }
    return requests;
  }
}

function parseRequest(line: string): GuestRequest | undefined {
  const text = line.trimEnd();
  if (text === 'read') return { kind: 'read' };
  const status = /^exit (\d{1,3})$/.exec(text)?.[1];
  return status === undefined ? undefined : { kind: 'exit', status: Number(status) };
}
