// Reader of Debian binary packages (deb(5)): ar outside, then control.tar and data.tar, each compressed on its own.

import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { createTarDecoder, type TarHeader } from 'modern-tar';
import xzDecompress from 'xz-decompress';
import { UserError } from '../base/errors.ts';
import { readAr } from './ar.ts';

export interface DebEntry {
  /** Path in the guest without a leading slash or `./`: `usr/bin/busybox`. */
  path: string;
  type: 'file' | 'directory' | 'symlink' | 'link';
  /** Permission bits. */
  mode: number;
  /** Target of a symbolic or hard link; a hard link's as a path like `path`. */
  linkTarget: string | undefined;
  /** Bytes of a file; empty for the other types. */
  data: Uint8Array;
}

export interface ReadDebOptions {
  /** Which of the two archives; `data`, the installed files, by default. */
  part?: 'control' | 'data';
  /** Entries that it refuses are passed over unread. */
  filter?: (path: string) => boolean;
}

/**
 * The files of a package, in archive order. Unpacking goes only as far as the caller iterates.
 * Throws a UserError for a package that is damaged.
 */
export async function* readDeb(bytes: Uint8Array, options: ReadDebOptions = {}): AsyncGenerator<DebEntry> {
  const prefix = `${options.part ?? 'data'}.tar`;
  const member = [...readAr(bytes)].find((m) => m.name === prefix || m.name.startsWith(`${prefix}.`));
  if (member === undefined) throw new UserError(`not a Debian package: it has no ${prefix}`);
  try {
    const tar = decompress(member.data, member.name.slice(prefix.length));
    for await (const entry of tar.pipeThrough(createTarDecoder({ strict: true }))) {
      const type = entryType(entry.header);
      const path = trimPath(entry.header.name);
      if (type === undefined || path === '' || options.filter?.(path) === false) {
        await entry.body.pipeTo(new WritableStream());
        continue;
      }
      const { linkname } = entry.header;
      yield {
        path,
        type,
        mode: (entry.header.mode ?? 0o644) & 0o7777,
        linkTarget: type === 'link' ? trimPath(linkname ?? '') : type === 'symlink' ? linkname : undefined,
        data: new Uint8Array(await new Response(entry.body).arrayBuffer()),
      };
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`the package's ${member.name} is damaged`, { cause: error });
  }
}

/** `extension` is a Debian member's: empty, `.gz`, `.xz` or `.zst`. */
export function decompress(bytes: Uint8Array, extension: string): ReadableStream<Uint8Array<ArrayBuffer>> {
  switch (extension) {
    case '':
      return streamOf(bytes);
    case '.gz':
      return streamOf(gunzipSync(bytes));
    case '.zst':
      return streamOf(zstdDecompressSync(bytes));
    case '.xz':
      // Its output chunks are plain allocations, which its declared type does not say.
      return new xzDecompress.XzReadableStream(streamOf(bytes)) as ReadableStream<Uint8Array<ArrayBuffer>>;
    default:
      throw new UserError(`cannot unpack the compression ${extension}`);
  }
}

const CHUNK_BYTES = 256 * 1024;

function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array<ArrayBuffer>> {
  let offset = 0;
  return new ReadableStream(
    {
      pull(controller) {
        if (offset >= bytes.length) return controller.close();
        controller.enqueue(bytes.slice(offset, offset + CHUNK_BYTES));
        offset += CHUNK_BYTES;
      },
    },
    { highWaterMark: 0 },
  );
}

function entryType(header: TarHeader): DebEntry['type'] | undefined {
  const type = header.type ?? 'file';
  return type === 'file' || type === 'directory' || type === 'symlink' || type === 'link' ? type : undefined;
}

function trimPath(name: string): string {
  return name
    .replace(/^\.?\/+/, '')
    .replace(/^\.$/, '')
    .replace(/\/+$/, '');
}
