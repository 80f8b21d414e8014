// The user's cache folder (XDG Base Directory Specification). A file appears whole or not at all: it is written
// beside its place and renamed, so that any number of processes may write the same file at once.

import { hash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { UserError } from '../base/errors.ts';

/** A cached file and what it must contain. */
export interface StoredFile {
  /** Path below the cache folder. */
  file: string;
  sizeBytes: number;
  sha256: string;
}

/** The user's home folder; a user that the host does not know has none. */
function homeFolder(): string {
  try {
    return homedir();
  } catch (error) {
    throw new UserError('there is no home folder to keep the images in', {
      hint: 'set XDG_CACHE_HOME to a folder',
      cause: error,
    });
  }
}

/** Whether a value from a JSON file is an object that has these fields, each of that type. */
export function hasFields(value: unknown, fields: Readonly<Record<string, 'string' | 'number'>>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(fields).every(([name, type]) => typeof Reflect.get(value, name) === type);
}

export const STORED_FILE_FIELDS = { file: 'string', sizeBytes: 'number', sha256: 'string' } as const;

export class Cache {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** The folder `bulkhead` in XDG_CACHE_HOME, or in ~/.cache where that is not set to an absolute path. */
  static ofUser(env: NodeJS.ProcessEnv): Cache {
    const base = env.XDG_CACHE_HOME;
    const isUsable = base !== undefined && isAbsolute(base);
    return new Cache(join(isUsable ? base : join(env.HOME || homeFolder(), '.cache'), 'bulkhead'));
  }

  writeJson(file: string, value: unknown): void {
    this.write(file, new TextEncoder().encode(`${JSON.stringify(value, undefined, 2)}\n`));
  }

  path(file: string): string {
    return join(this.folder, file);
  }

  /** The file's bytes; undefined where it is missing or not what was stored. */
  read(stored: StoredFile): Uint8Array | undefined {
    try {
      const buffer = readFileSync(this.path(stored.file));
      const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
      return hash('sha256', bytes, 'hex') === stored.sha256 ? bytes : undefined;
    } catch {
      return undefined;
    }
  }

  /** What a JSON file says; undefined where it is missing or damaged. The caller checks its shape. */
  readJson(file: string): unknown {
    try {
      return JSON.parse(readFileSync(this.path(file), 'utf8'));
    } catch {
      return undefined;
    }
  }

  write(file: string, bytes: Uint8Array): StoredFile {
    const path = this.path(file);
    const temporary = `${path}.${randomUUID()}.tmp`;
    try {
      mkdirSync(dirname(path), { recursive: true });
      try {
        writeFileSync(temporary, bytes, { flag: 'wx' });
        renameSync(temporary, path);
      } catch (error) {
        rmSync(temporary, { force: true });
        throw error;
      }
    } catch (error) {
      throw new UserError(`cannot write the cache file ${path}: ${error instanceof Error ? error.message : error}`, {
        hint: 'the variable XDG_CACHE_HOME names another place for caches',
        cause: error,
      });
    }
    return { file, sizeBytes: bytes.length, sha256: hash('sha256', bytes, 'hex') };
  }

  remove(file: string): void {
    rmSync(this.path(file), { force: true });
  }
}
