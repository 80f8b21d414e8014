// Debian packages for whoever needs one: from the cache, or from the mirror and then kept in the cache.

import type { Key } from 'openpgp';
import { EXIT_STATUS, UserError } from '../base/errors.ts';
import { DebianArchive, type PackageRecord } from './archive.ts';
import { Cache, hasFields, STORED_FILE_FIELDS, type StoredFile } from './cache.ts';
import { type DebEntry, type ReadDebOptions, readDeb } from './deb.ts';
import { withProxy } from './download.ts';
import { findMirror, MIRROR_VARIABLE, type Mirror } from './mirror.ts';
import { type Progress, silentProgress } from './progress.ts';
import { KEYRING_VARIABLE, loadKeys } from './release.ts';

export interface FetchOptions {
  /** URL of a Debian mirror; else the environment's, else that of the host's apt. */
  mirror?: string;
  /** File of the OpenPGP keys that may sign; else the environment's, else Debian's own. */
  keyring?: string;
  progress?: Progress;
  /** Takes what the cache has and never uses the network. */
  offline?: boolean;
  /** The process's own by default. */
  env?: NodeJS.ProcessEnv;
  /** Apt's configuration folder; /etc/apt by default. */
  aptFolder?: string;
}

export interface FetchedPackage {
  name: string;
  version: string;
  architecture: string;
  url: string;
  sha256: string;
  /** The .deb file. */
  bytes: Uint8Array;
  /** Its files; stops unpacking where the caller stops iterating. */
  files(options?: ReadDebOptions): AsyncGenerator<DebEntry>;
}

type KeptPackage = StoredFile & Omit<PackageRecord, 'depends'>;

const KEPT_PACKAGE_FIELDS = {
  ...STORED_FILE_FIELDS,
  name: 'string',
  version: 'string',
  architecture: 'string',
  url: 'string',
} as const;

function isKeptPackage(value: unknown): value is KeptPackage {
  return hasFields(value, KEPT_PACKAGE_FIELDS);
}

/**
 * A package of Debian's component `main`: `fetchPackage('trixie', 'busybox-static', 'i386')`. It is kept in the cache,
 * where later calls find it without a network. Throws a UserError where it cannot be had or fails its checks.
 */
export function fetchPackage(
  codename: string,
  name: string,
  architecture: string,
  options: FetchOptions = {},
): Promise<FetchedPackage> {
  return new PackageStore(options).fetchKept(codename, name, architecture);
}

/** Opens each release once, and only when the cache does not have what is asked for. */
export class PackageStore {
  readonly cache: Cache;
  private readonly options: FetchOptions;
  private readonly env: NodeJS.ProcessEnv;
  private readonly archives = new Map<string, Promise<DebianArchive>>();
  private mirror: Mirror | undefined;
  private keys: Promise<Key[]> | undefined;

  constructor(options: FetchOptions) {
    this.options = options;
    this.env = options.env ?? process.env;
    this.cache = Cache.ofUser(this.env);
  }

  async fetchKept(
    codename: string,
    name: string,
    architecture: string,
    { refresh = false } = {},
  ): Promise<FetchedPackage> {
    const stored = refresh ? undefined : this.readKept(codename, name, architecture);
    if (stored !== undefined) return stored;
    const record = await this.find(codename, name, architecture);
    const fetched = await this.fetch(record);
    const { file } = this.cache.write(`packages/${record.sha256}.deb`, fetched.bytes);
    const { version, url, sizeBytes, sha256 } = record;
    const entry: KeptPackage = { name, version, architecture, url, file, sizeBytes, sha256 };
    this.cache.writeJson(indexFile(codename, name, architecture), entry);
    return fetched;
  }

  /** Finds a package in the archive's index; nothing is cached. */
  find(codename: string, name: string, architecture: string, version?: string): Promise<PackageRecord> {
    return this.online(name, async (mirror) => {
      let archive = this.archives.get(codename);
      if (archive === undefined) {
        archive = this.open(codename, mirror);
        this.archives.set(codename, archive);
      }
      return (await archive).find(name, architecture, version);
    });
  }

  /** Downloads what `find` has found; nothing is cached. */
  fetch(record: PackageRecord): Promise<FetchedPackage> {
    return this.online(record.name, async () => {
      const bytes = await DebianArchive.fetch(record, this.options.progress ?? silentProgress);
      return packageOf(record, bytes);
    });
  }

  private readKept(codename: string, name: string, architecture: string): FetchedPackage | undefined {
    const entry = this.cache.readJson(indexFile(codename, name, architecture));
    if (!isKeptPackage(entry)) return undefined;
    const bytes = this.cache.read(entry);
    return bytes && packageOf(entry, bytes);
  }

  private async open(codename: string, mirror: Mirror): Promise<DebianArchive> {
    this.keys ??= loadKeys(this.options.keyring ?? (this.env[KEYRING_VARIABLE] || undefined));
    return DebianArchive.open(mirror.url, codename, await this.keys, this.options.progress ?? silentProgress);
  }

  private online<T>(what: string, work: (mirror: Mirror) => Promise<T>): Promise<T> {
    if (this.options.offline === true) {
      throw new UserError(`${what} is not in the cache ${this.cache.folder}, and the network may not be used`, {
        hint: `run once with a network, or with a mirror on this host: --mirror URL or ${MIRROR_VARIABLE}`,
        exitStatus: EXIT_STATUS.unavailable,
      });
    }
    this.mirror ??= findMirror(this.options);
    const mirror = this.mirror;
    return withProxy(mirror, () => work(mirror));
  }
}

function indexFile(codename: string, name: string, architecture: string): string {
  // The three become part of a path: only what Debian Policy 5.6 allows in them, no slash among it.
  for (const word of [codename, name, architecture]) {
    if (!/^[a-z0-9][a-z0-9+.-]*$/.test(word)) throw new UserError(`not a name in a Debian archive: ${word}`);
  }
  return `packages/${codename}/${architecture}/${name}.json`;
}

function packageOf(record: Omit<PackageRecord, 'depends'>, bytes: Uint8Array): FetchedPackage {
  const { name, version, architecture, url, sha256 } = record;
  return { name, version, architecture, url, sha256, bytes, files: (options) => readDeb(bytes, options) };
}
