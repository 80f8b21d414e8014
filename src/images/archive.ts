// One release of a Debian archive: its signed release file, its package indexes, its packages.
// Layout: https://wiki.debian.org/DebianRepository/Format. Everything is checked down from the signature.

import type { Key } from 'openpgp';
import { UserError } from '../base/errors.ts';
import { decompress } from './deb.ts';
import { download, type Expected, NotFoundError } from './download.ts';
import type { Progress } from './progress.ts';
import { type Release, verifyRelease } from './release.ts';
import { parseStanzas } from './stanzas.ts';

export interface PackageRecord extends Expected {
  name: string;
  version: string;
  architecture: string;
  /** Where it was found: the whole URL. */
  url: string;
  /** Names of what it depends on, with the exact version where one is demanded; of alternatives the first. */
  depends: readonly { name: string; version: string | undefined }[];
}

const MAX_RELEASE_BYTES = 4 * 1024 * 1024;
const INDEX_EXTENSIONS = ['.xz', '.zst', '.gz', ''];

export class DebianArchive {
  private readonly url: string;
  private readonly release: Release;
  private readonly progress: Progress;
  private readonly indexes = new Map<string, Promise<Buffer>>();

  private constructor(url: string, release: Release, progress: Progress) {
    this.url = url;
    this.release = release;
    this.progress = progress;
  }

  /** Fetches and verifies the release file of the given code name, such as `trixie`. */
  static async open(url: string, codename: string, keys: Key[], progress: Progress): Promise<DebianArchive> {
    const inRelease = await download(`${url}/dists/${codename}/InRelease`, {
      label: `release file of Debian ${codename}`,
      progress,
      maxBytes: MAX_RELEASE_BYTES,
    });
    const release = await verifyRelease(new TextDecoder().decode(inRelease), codename, keys, new Date());
    return new DebianArchive(url, release, progress);
  }

  /** The package of that name in the component `main`. Throws a UserError where there is none. */
  async find(name: string, architecture: string, version?: string): Promise<PackageRecord> {
    let index = this.indexes.get(architecture);
    if (index === undefined) {
      index = this.fetchIndex(architecture);
      this.indexes.set(architecture, index);
    }
    for (const stanza of stanzasOf(await index, name)) {
      const record = this.readRecord(stanza);
      if (version === undefined || record.version === version) return record;
    }
    const what = version === undefined ? name : `${name} ${version}`;
    throw new UserError(`Debian ${this.release.codename} has no package ${what} for ${architecture}`);
  }

  /** The whole .deb, its size and hash checked. */
  static fetch(record: PackageRecord, progress: Progress): Promise<Uint8Array> {
    return download(record.url, { label: `${record.name} ${record.version}`, progress, expected: record });
  }

  private async fetchIndex(architecture: string): Promise<Buffer> {
    const folder = `main/binary-${architecture}`;
    for (const extension of INDEX_EXTENSIONS) {
      const path = `${folder}/Packages${extension}`;
      const expected = this.release.indexes.get(path);
      if (expected === undefined) continue;
      const options = { label: `package index of Debian ${this.release.codename}`, progress: this.progress, expected };
      const root = `${this.url}/dists/${this.release.codename}`;
      const plain = () => download(`${root}/${path}`, options);
      const byHash = () =>
        download(`${root}/${folder}/by-hash/SHA256/${expected.sha256}`, options).catch((error) => {
          if (error instanceof NotFoundError) return plain();
          throw error;
        });
      const bytes = await (this.release.byHash ? byHash() : plain());
      return Buffer.from(await new Response(decompress(bytes, extension)).arrayBuffer());
    }
    throw new UserError(`Debian ${this.release.codename} has no packages for ${architecture}`);
  }

  private readRecord(text: string): PackageRecord {
    const fields = parseStanzas(text)[0];
    const field = (key: string): string => {
      const value = fields?.get(key);
      if (value === undefined) throw new UserError(`the package index is damaged: an entry without its ${key}`);
      return value;
    };
    return {
      name: field('package'),
      version: field('version'),
      architecture: field('architecture'),
      url: `${this.url}/${field('filename')}`,
      sizeBytes: Number(field('size')),
      sha256: field('sha256'),
      depends: parseDepends(fields?.get('depends') ?? ''),
    };
  }
}

/** An index is some 50 MB of text: only the stanzas that are asked for become strings. */
function* stanzasOf(index: Buffer, name: string): Generator<string> {
  const line = `Package: ${name}\n`;
  for (let at = index.indexOf(line); at >= 0; at = index.indexOf(line, at + line.length)) {
    if (at > 0 && index[at - 1] !== 0x0a) continue;
    const end = index.indexOf('\n\n', at);
    yield index.toString('utf8', at, end < 0 ? index.length : end);
  }
}

/** The value of a field such as Depends. */
export function parseDepends(value: string): PackageRecord['depends'] {
  return value.split(',').flatMap((clause) => {
    const [, name, version] = /^\s*([a-z0-9][a-z0-9+.-]*)(?::\w+)?\s*(?:\(=\s*([^)\s]+)\s*\))?/.exec(clause) ?? [];
    return name === undefined ? [] : [{ name, version }];
  });
}
