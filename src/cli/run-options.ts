// The options of `bulkhead run` as text, and what they mean.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { EXIT_STATUS, UserError } from '../base/errors.ts';
import type { CpuModelName } from '../engine/kvm/cpu-model.ts';
import type { OverlayFile } from '../images/overlay.ts';
import type { BootModule } from '../machine/boot/boot-request.ts';
import type { EngineFlag } from './engine-choice.ts';

/** As commander gives them. */
export interface RunFlags {
  kernel?: string;
  initrd?: string[];
  append?: string;
  memory: string;
  codeCache: string;
  engine: EngineFlag;
  cpu?: CpuModelName;
  debugExit?: string;
  reboot: boolean;
  file?: string[];
  terminal?: boolean;
  verbose?: boolean;
  mirror?: string;
  offline?: boolean;
}

/** A file that the user named; `what` is what messages call it. */
export function readUserFile(path: string, what: string): Uint8Array {
  try {
    if (!statSync(path).isFile()) throw new Error(statSync(path).isDirectory() ? 'it is a folder' : 'it is no file');
    const buffer = readFileSync(path);
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
  } catch (error) {
    throw new UserError(`cannot read the ${what} ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

const REASONS: Record<string, string> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
};

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  return (code && REASONS[code]) || error.message;
}

/** `file` or `file arguments`: a kernel that takes modules sees the whole text as the module's command line. */
export function readInitrd(text: string): BootModule {
  const space = text.indexOf(' ');
  const path = space > 0 && !existsSync(text) ? text.slice(0, space) : text;
  return { bytes: readUserFile(path, 'initrd'), commandLine: text };
}

/** Folders of an image that are links; an archive's entry through one would replace the link. */
const LINKED_FOLDERS: readonly (readonly [link: RegExp, folder: string])[] = [
  [/^\/(?:s?bin|usr\/sbin)\//, '/usr/bin/'],
  [/^\/lib\//, '/usr/lib/'],
  [/^\/var\/tmp\//, '/tmp/'],
];
/** Replacing one of these would leave the guest without its programs. */
const LINKS: ReadonlySet<string> = new Set([
  '/bin',
  '/sbin',
  '/lib',
  '/usr',
  '/usr/bin',
  '/usr/sbin',
  '/usr/lib',
  '/init',
]);
/** File systems are mounted there once the guest runs. */
const MOUNT_POINTS = /^\/(?:dev|proc|sys|run|var\/run)\//;

/** `HOST:GUEST`: a file of the host's, and the absolute path that it gets in the guest. Executable for all. */
export function readGuestFile(text: string): OverlayFile {
  const colon = text.lastIndexOf(':');
  const [hostPath, path] = [text.slice(0, colon), text.slice(colon + 1)];
  if (colon < 1 || !path.startsWith('/') || path.endsWith('/') || path.split('/').includes('..')) {
    throw usageError(`not a file to bring in: ${text}`, 'give HOST:GUEST, such as ./data.bin:/root/data.bin');
  }
  if (LINKS.has(path)) throw usageError(`${path} is a folder or the first program of the image`, 'name a file in it');
  if (MOUNT_POINTS.test(path)) {
    throw usageError(`the guest would not see the file ${path}`, 'its kernel mounts a file system there; choose /root');
  }
  const link = LINKED_FOLDERS.find(([pattern]) => pattern.test(path));
  const target = link ? path.replace(...link) : path;
  return { path: target, data: readUserFile(hostPath, 'file'), mode: 0o755 };
}

/** A port number in decimal or, with 0x, in hexadecimal. */
export function parsePort(text: string): number {
  const port = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 0xfffc)) throw usageError(`not a port: ${text}`, 'give a number up to 0xfffc, such as 0xf4');
  return port;
}

export function usageError(message: string, hint: string): UserError {
  return new UserError(message, { hint, exitStatus: EXIT_STATUS.usage });
}
