// Debian packages as files for a guest: each package and what it depends on, out of the verified archive and the
// user's cache, unpacked by src/images. Nothing is configured: no maintainer script runs.

import { join } from 'node:path/posix';
import { parseDepends } from '../src/images/archive.ts';
import type { OverlayFile } from '../src/images/overlay.ts';
import { type FetchedPackage, PackageStore } from '../src/images/packages.ts';
import { parseStanzas } from '../src/images/stanzas.ts';
import type { Architecture } from './peers/peer.ts';

const RELEASE = 'trixie';

/** Dependencies that the rows' programs work without. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  ...['debconf', 'dpkg', 'media-types', 'netbase', 'readline-common', 'tzdata'],
  ...['libc-dev-bin', 'libcrypt-dev', 'linux-libc-dev', 'rpcsvc-proto'],
  // Modules of Python that no row imports need these.
  ...['libdb5.3t64', 'libffi8', 'libncursesw6', 'libssl3t64', 'libuuid1', 'openssl-provider-legacy'],
]);

const INSTALLED = /^(?:bin|lib|lib32|lib64|usr\/(?:bin|include|lib|lib32|lib64))\//;
const NOT_INSTALLED = [
  ...[/\/gconv\//, /\/locale\//, /\/audit\//],
  // Static libraries, but for the parts of libc and tcc that every program is linked with.
  /\/(?!libc_nonshared|libtcc1)[^/]*\.a$/,
  /\/python3[^/]*\/(?:config-[^/]*|ensurepip|idlelib|pydoc_data|test|tkinter|turtledemo|unittest|venv)\//,
];

/** The dynamic loader's place, where it is not below /lib. */
const LINKS: Readonly<Record<Architecture, readonly OverlayFile[]>> = {
  amd64: [{ path: '/lib64', type: 'symlink', data: 'usr/lib64' }],
  i386: [],
};

/** The files of the packages and of their dependencies. */
export async function packageFiles(names: readonly string[], architecture: Architecture): Promise<OverlayFile[]> {
  const store = new PackageStore({});
  const packages = new Map<string, FetchedPackage>();
  const visit = async (name: string): Promise<void> => {
    if (packages.has(name) || LEFT_OUT.has(name)) return;
    const fetched = await store.fetchKept(RELEASE, name, architecture);
    packages.set(name, fetched);
    for (const dependency of await dependenciesOf(fetched)) await visit(dependency);
  };
  for (const name of names) await visit(name);
  const files = new Map<string, OverlayFile>();
  for (const fetched of packages.values()) {
    for (const file of await unpack(fetched)) files.set(file.path, file);
  }
  return files.size === 0 ? [] : [...LINKS[architecture], ...files.values()];
}

async function dependenciesOf(fetched: FetchedPackage): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of fetched.files({ part: 'control', filter: (path) => path === 'control' })) {
    const fields = parseStanzas(new TextDecoder().decode(entry.data))[0];
    for (const field of ['pre-depends', 'depends']) {
      names.push(...parseDepends(fields?.get(field) ?? '').map(({ name }) => name));
    }
  }
  return names;
}

async function unpack(fetched: FetchedPackage): Promise<OverlayFile[]> {
  const files = new Map<string, OverlayFile>();
  const filter = (path: string): boolean =>
    INSTALLED.test(path) && !NOT_INSTALLED.some((pattern) => pattern.test(path));
  for await (const { path, type, mode, data, linkTarget } of fetched.files({ filter })) {
    const guestPath = `/${path.startsWith('usr/') ? path : `usr/${path}`}`;
    if (type === 'file') files.set(guestPath, { path: guestPath, data, mode });
    if (type === 'symlink') files.set(guestPath, { path: guestPath, type, data: linkTarget ?? '' });
    if (type === 'link') {
      // The archive has its target before it.
      const target = files.get(join('/', linkTarget ?? ''));
      if (target !== undefined) files.set(guestPath, { ...target, path: guestPath });
    }
  }
  return [...files.values()];
}
