// Downloads over HTTP that are checked before anyone sees them: whole, of the stated size and SHA-256, or an error.

import { hash } from 'node:crypto';
import http from 'node:http';
import { EXIT_STATUS, UserError } from '../base/errors.ts';
import type { Mirror } from './mirror.ts';
import type { Progress } from './progress.ts';

export interface Expected {
  sizeBytes: number;
  /** In lower-case hexadecimal. */
  sha256: string;
}

export interface DownloadOptions {
  /** What a person calls it: stands in the progress and in errors. */
  label: string;
  progress: Progress;
  /** Without it anything up to `maxBytes` is taken: the caller must have another check. */
  expected?: Expected;
  maxBytes?: number;
}

/** The server answered, but has no such file. */
export class NotFoundError extends UserError {}

const STALL_TIMEOUT_MS = 30_000;
/** A transfer that broke off is tried once more. */
const ATTEMPTS = 2;

export async function download(url: string, options: DownloadOptions): Promise<Uint8Array> {
  for (let attempt = 1; ; attempt++) {
    try {
      const bytes = await transfer(url, options);
      if (options.expected !== undefined) check(url, bytes, options.label, options.expected);
      return bytes;
    } catch (error) {
      if (!(error instanceof BrokenTransfer)) throw error;
      if (attempt < ATTEMPTS) continue;
      throw new UserError(`the download of ${options.label} broke off after ${error.receivedBytes} bytes: ${url}`, {
        hint: 'nothing of it was kept; try again, or another mirror with --mirror URL',
        exitStatus: EXIT_STATUS.unavailable,
        cause: error.cause,
      });
    }
  }
}

/** Runs `work` with the mirror's proxies set for the process, and puts back what was before. */
export async function withProxy<T>(mirror: Mirror, work: () => Promise<T>): Promise<T> {
  if (mirror.httpProxy === undefined && mirror.httpsProxy === undefined) return work();
  if (typeof http.setGlobalProxyFromEnv !== 'function') {
    throw new UserError(`Node ${process.versions.node} cannot use a proxy`, { hint: 'Node 24.14 and newer can' });
  }
  const restore = http.setGlobalProxyFromEnv({
    http_proxy: mirror.httpProxy,
    https_proxy: mirror.httpsProxy,
    no_proxy: mirror.noProxy,
  });
  try {
    return await work();
  } finally {
    restore();
  }
}

class BrokenTransfer extends Error {
  readonly receivedBytes: number;

  constructor(receivedBytes: number, cause: unknown) {
    super('broken transfer', { cause });
    this.receivedBytes = receivedBytes;
  }
}

async function transfer(url: string, options: DownloadOptions): Promise<Uint8Array> {
  const { progress, label, expected } = options;
  const limitBytes = expected?.sizeBytes ?? options.maxBytes ?? Number.POSITIVE_INFINITY;
  const abort = new AbortController();
  const stall = setTimeout(
    () => abort.abort(new Error(`no answer for ${STALL_TIMEOUT_MS / 1000} s`)),
    STALL_TIMEOUT_MS,
  );
  let receivedBytes = 0;
  let started = false;
  try {
    const response = await fetch(url, { signal: abort.signal }).catch((error) => {
      throw unreachable(url, error);
    });
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      const message = `the mirror has no ${label}: HTTP ${response.status} for ${url}`;
      const hint = 'is it a full Debian mirror? give another one with --mirror URL';
      if (response.status === 404) throw new NotFoundError(message, { hint });
      throw new UserError(message, { hint, exitStatus: EXIT_STATUS.unavailable });
    }
    const stated = response.headers.get('content-length');
    const totalBytes = expected?.sizeBytes ?? (stated === null ? undefined : Number(stated));
    progress.start(label, totalBytes);
    started = true;
    const chunks: Uint8Array[] = [];
    try {
      for await (const chunk of response.body) {
        stall.refresh();
        chunks.push(chunk);
        receivedBytes += chunk.length;
        progress.advance(chunk.length);
        if (receivedBytes > limitBytes) break;
      }
    } catch (error) {
      throw new BrokenTransfer(receivedBytes, error);
    }
    if (receivedBytes > limitBytes) throw corrupt(label, url, `it is longer than ${limitBytes} bytes`);
    return concatenate(chunks, receivedBytes);
  } finally {
    clearTimeout(stall);
    if (started) progress.finish();
  }
}

function check(url: string, bytes: Uint8Array, label: string, expected: Expected): void {
  if (bytes.length < expected.sizeBytes) throw new BrokenTransfer(bytes.length, undefined);
  const sha256 = hash('sha256', bytes, 'hex');
  if (sha256 !== expected.sha256) {
    throw corrupt(label, url, `its SHA-256 is ${sha256}, the archive's index says ${expected.sha256}`);
  }
}

function corrupt(label: string, url: string, reason: string): UserError {
  return new UserError(`the download of ${label} is corrupt: ${reason}: ${url}`, {
    hint: 'nothing of it was kept; the mirror may be being updated: try again, or another one with --mirror URL',
    exitStatus: EXIT_STATUS.unavailable,
  });
}

function unreachable(url: string, error: unknown): UserError {
  return new UserError(`cannot reach the mirror at ${new URL(url).host}: ${reasonOf(error)}`, {
    hint: 'check the network, or give another mirror with --mirror URL',
    exitStatus: EXIT_STATUS.unavailable,
    cause: error,
  });
}

/** fetch says only "fetch failed" and hides the reason in its cause, or in the first of several causes. */
function reasonOf(error: unknown): string {
  let deepest: unknown = error;
  while (deepest instanceof Error) {
    const inner: unknown = deepest instanceof AggregateError ? deepest.errors[0] : deepest.cause;
    if (!(inner instanceof Error)) return deepest.message;
    deepest = inner;
  }
  return String(error);
}

function concatenate(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
