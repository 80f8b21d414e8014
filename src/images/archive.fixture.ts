// For tests: a tiny Debian archive, built and signed on the spot, behind an HTTP server on the loopback interface.

import { hash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { packTar, type TarEntry } from 'modern-tar';
import { createCleartextMessage, generateKey, readKey, readPrivateKey, sign } from 'openpgp';

export interface FixturePackage {
  name: string;
  version?: string;
  architecture?: string;
  depends?: string;
  /** Path to contents; a path that ends in a slash is a folder. */
  files?: Record<string, string | Uint8Array>;
}

export interface FixtureKey {
  publicArmored: string;
  privateArmored: string;
}

export interface FixtureOptions {
  codename?: string;
  packages: readonly FixturePackage[];
  key: FixtureKey;
  /** Further lines of the release file. */
  releaseFields?: string;
}

/** What the server answers for a path instead of the file. */
export interface Fault {
  bytes?: Uint8Array;
  status?: number;
  breakOffAfterBytes?: number;
}

/** As a key of the archive, and as one of somebody else. */
export async function makeKey(): Promise<FixtureKey> {
  const pair = await generateKey({ type: 'curve25519', userIDs: [{ name: 'Test archive' }], format: 'armored' });
  // Looked at once here, so that a test fails where the key is bad and not somewhere behind it.
  await readKey({ armoredKey: pair.publicKey });
  return { publicArmored: pair.publicKey, privateArmored: pair.privateKey };
}

export class FixtureArchive {
  /** Path below the archive's root to its bytes. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly faults = new Map<string, Fault>();
  /** Every path that was asked for, in order. */
  readonly requests: string[] = [];
  private readonly server: Server;

  private constructor(files: ReadonlyMap<string, Uint8Array>) {
    this.files = files;
    this.server = createServer((request, response) => {
      // A proxy is asked for whole URLs, a server for paths.
      const { pathname } = new URL(request.url ?? '', 'http://127.0.0.1');
      const path = decodeURIComponent(pathname).replace('/debian/', '');
      this.requests.push(path);
      const fault = this.faults.get(path) ?? {};
      const bytes = fault.bytes ?? this.files.get(path);
      if (fault.status !== undefined || bytes === undefined) {
        response.writeHead(fault.status ?? 404).end();
        return;
      }
      response.writeHead(200, { 'content-length': bytes.length });
      if (fault.breakOffAfterBytes === undefined) response.end(bytes);
      else response.write(bytes.subarray(0, fault.breakOffAfterBytes), () => response.destroy());
    });
  }

  static async start(options: FixtureOptions): Promise<FixtureArchive> {
    const archive = new FixtureArchive(await buildFiles(options));
    await new Promise<void>((resolve) => archive.server.listen(0, '127.0.0.1', resolve));
    return archive;
  }

  get url(): string {
    const { port } = this.server.address() as AddressInfo; // a TCP server's address is never a path
    return `http://127.0.0.1:${port}/debian`;
  }

  /** The path of the .deb of that name. */
  poolPath(name: string): string {
    const path = [...this.files.keys()].find((file) => file.startsWith(`pool/${name}_`));
    if (path === undefined) throw new Error(`the fixture has no package ${name}`);
    return path;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

async function buildFiles(options: FixtureOptions): Promise<Map<string, Uint8Array>> {
  const codename = options.codename ?? 'trixie';
  const files = new Map<string, Uint8Array>();
  const stanzas = new Map<string, string[]>();
  for (const pkg of options.packages) {
    const { name, version = '1.0-1', architecture = 'amd64' } = pkg;
    const deb = await buildDeb(pkg);
    const path = `pool/${name}_${version}_${architecture}.deb`;
    files.set(path, deb);
    const stanza = [
      `Package: ${name}`,
      `Version: ${version}`,
      `Architecture: ${architecture}`,
      ...(pkg.depends === undefined ? [] : [`Depends: ${pkg.depends}`]),
      `Filename: ${path}`,
      `Size: ${deb.length}`,
      `SHA256: ${hash('sha256', deb, 'hex')}`,
    ].join('\n');
    stanzas.set(architecture, [...(stanzas.get(architecture) ?? []), stanza]);
  }
  const indexLines: string[] = [];
  for (const [architecture, texts] of stanzas) {
    const index = gzipSync(`${texts.join('\n\n')}\n\n`);
    const path = `main/binary-${architecture}/Packages.gz`;
    const sha256 = hash('sha256', index, 'hex');
    files.set(`dists/${codename}/${path}`, index);
    files.set(`dists/${codename}/main/binary-${architecture}/by-hash/SHA256/${sha256}`, index);
    indexLines.push(` ${sha256} ${index.length} ${path}`);
  }
  const release = [
    'Origin: Debian',
    'Suite: stable',
    `Codename: ${codename}`,
    'Acquire-By-Hash: yes',
    ...(options.releaseFields === undefined ? [] : [options.releaseFields]),
    'SHA256:',
    ...indexLines,
  ].join('\n');
  const signed = await sign({
    message: await createCleartextMessage({ text: release }),
    signingKeys: await readPrivateKey({ armoredKey: options.key.privateArmored }),
  });
  files.set(`dists/${codename}/InRelease`, new TextEncoder().encode(signed));
  return files;
}

async function buildDeb(pkg: FixturePackage): Promise<Uint8Array> {
  const encoder = new TextEncoder();
  const entries = Object.entries(pkg.files ?? {}).map(([path, content]): TarEntry => {
    const data = typeof content === 'string' ? encoder.encode(content) : content;
    if (path.endsWith('/')) return { header: { name: `./${path}`, type: 'directory', size: 0 } };
    return { header: { name: `./${path}`, type: 'file', size: data.length, mode: 0o755 }, body: data };
  });
  return writeAr([
    { name: 'debian-binary', data: encoder.encode('2.0\n') },
    { name: 'control.tar.gz', data: gzipSync(await packTar([])) },
    { name: 'data.tar.gz', data: gzipSync(await packTar(entries)) },
  ]);
}

export function writeAr(members: readonly { name: string; data: Uint8Array }[]): Uint8Array {
  const parts = [Buffer.from('!<arch>\n')];
  for (const { name, data } of members) {
    const fields = [name.padEnd(16), '0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '100644'.padEnd(8)];
    parts.push(Buffer.from(`${fields.join('')}${String(data.length).padEnd(10)}\`\n`), Buffer.from(data));
    if (data.length % 2 === 1) parts.push(Buffer.from('\n'));
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** Bytes with the applet table of a busybox in their middle. */
export function fakeBusybox(applets: readonly string[] = fakeApplets()): Uint8Array {
  return new Uint8Array(Buffer.from(`\x7fELF [\0[[\0 not this one \xff${applets.join('\0')}\0\0 and more`, 'latin1'));
}

/** `[`, `[[`, and 120 more in ascending order, modprobe among them. */
export function fakeApplets(): string[] {
  const names = Array.from({ length: 120 }, (_, index) => `applet${index}`);
  return ['[', '[[', ...[...names, 'busybox', 'modprobe', 'sh'].sort()];
}
