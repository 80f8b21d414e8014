// The guest images by name: a stock Debian cloud kernel and an initramfs around Debian's static busybox. They are made
// on first use out of a Debian mirror, kept in the user's cache, and taken from there without a network ever after.

import { hash } from 'node:crypto';
import { EXIT_STATUS, UserError } from '../base/errors.ts';
import type { PackageRecord } from './archive.ts';
import { type Cache, hasFields, STORED_FILE_FIELDS, type StoredFile } from './cache.ts';
import { buildInitramfs, INITRAMFS_RECIPE } from './initramfs.ts';
import { type FetchedPackage, type FetchOptions, PackageStore } from './packages.ts';

export interface ResolveOptions extends FetchOptions {
  /** Makes the image anew from the mirror's newest packages even if the cache has one. */
  refresh?: boolean;
}

export interface GuestImage {
  /** The canonical name: `debian:13` also where `debian` was asked for. */
  name: string;
  /** The bzImage, and the file that holds it. */
  kernel: Uint8Array;
  kernelPath: string;
  /** As in the file's name: `6.12.107+deb13-cloud-amd64`. */
  kernelVersion: string;
  /** The initramfs, an uncompressed cpio archive that `createOverlay` archives may follow. */
  initrd: Uint8Array;
  initrdPath: string;
  defaultCommandLine: string;
}

export interface ImageDescription {
  name: string;
  aliases: readonly string[];
  summary: string;
}

interface ImageRecipe extends ImageDescription {
  codename: string;
}

const IMAGES: readonly ImageRecipe[] = [
  {
    name: 'debian:13',
    aliases: ['debian', 'debian:trixie'],
    summary: 'Debian 13 (trixie), the current stable release: cloud kernel and busybox',
    codename: 'trixie',
  },
  {
    name: 'debian:12',
    aliases: ['debian:bookworm'],
    summary: 'Debian 12 (bookworm), the release before: cloud kernel and busybox',
    codename: 'bookworm',
  },
];

const ARCHITECTURE = 'amd64';
const KERNEL_METAPACKAGE = 'linux-image-cloud-amd64';
const BUSYBOX_PACKAGE = 'busybox-static';

/**
 * console: the first serial port. quiet: a line on the console costs port accesses for each of its characters.
 * panic=-1: a guest that panics resets at once, so that its end can be seen, instead of spinning for ever.
 * The rest leaves out what a guest of minutes has no use for and an interpreting engine pays dearly, measured in the
 * instructions of a whole boot of 6.12: the kernel's tests of its own ciphers (a third), the start-up test of a source
 * of randomness that only FIPS needs (a tenth), and the names of enumerations in trace formats (a tenth). The machine
 * check device only complains, on every console, that the processor has none.
 */
const DEFAULT_COMMAND_LINE = [
  'console=ttyS0',
  'quiet',
  'panic=-1',
  'cryptomgr.notests',
  'initcall_blacklist=jent_mod_init,trace_eval_init,mcheck_init_device',
].join(' ');

/** The package that a file was made of. */
interface Source {
  name: string;
  version: string;
  url: string;
  sha256: string;
}

interface StoredKernel extends StoredFile {
  kernelVersion: string;
  source: Source;
}

interface StoredInitrd extends StoredFile {
  /** Hash of how it was made: another one means that it has to be made anew. */
  recipe: string;
  source: Source;
}

/** images/<name>/manifest.json: what the cache holds of an image. */
interface Manifest {
  kernel: StoredKernel;
  initrd: StoredInitrd;
}

function isManifest(value: unknown): value is Manifest {
  if (typeof value !== 'object' || value === null || !('kernel' in value) || !('initrd' in value)) return false;
  // The sources are for people who look into the cache: nothing depends on them.
  return (
    hasFields(value.kernel, { ...STORED_FILE_FIELDS, kernelVersion: 'string' }) &&
    hasFields(value.initrd, { ...STORED_FILE_FIELDS, recipe: 'string' })
  );
}

export function listImages(): readonly ImageDescription[] {
  return IMAGES.map(({ name, aliases, summary }) => ({ name, aliases, summary }));
}

/** Throws a UserError for a name that is no image, and where the image is not cached and cannot be made. */
export async function resolveImage(name: string, options: ResolveOptions = {}): Promise<GuestImage> {
  const recipe = IMAGES.find((image) => image.name === name || image.aliases.includes(name));
  if (recipe === undefined) {
    throw new UserError(`no such image: ${name}`, {
      hint: `there are ${IMAGES.flatMap((image) => [image.name, ...image.aliases]).join(', ')}`,
      exitStatus: EXIT_STATUS.usage,
    });
  }
  const store = new PackageStore(options);
  const former = readManifest(store.cache, recipe);
  const cached = options.refresh === true ? undefined : former;
  const kernel = (cached && readKernel(store.cache, cached.kernel)) ?? (await makeKernel(store, recipe));
  const initrd = (cached && readInitrd(store.cache, cached.initrd)) ?? (await makeInitrd(store, recipe, options));
  if (kernel.stored !== cached?.kernel || initrd.stored !== cached?.initrd) {
    const manifest: Manifest = { kernel: kernel.stored, initrd: initrd.stored };
    store.cache.writeJson(manifestFile(recipe), manifest);
    // Whoever reads the former files now has them open or in memory; a reader who comes too late makes them anew.
    for (const old of former === undefined ? [] : [former.kernel, former.initrd]) {
      if (old.file !== kernel.stored.file && old.file !== initrd.stored.file) store.cache.remove(old.file);
    }
  }
  return {
    name: recipe.name,
    kernel: kernel.bytes,
    kernelPath: store.cache.path(kernel.stored.file),
    kernelVersion: kernel.stored.kernelVersion,
    initrd: initrd.bytes,
    initrdPath: store.cache.path(initrd.stored.file),
    defaultCommandLine: DEFAULT_COMMAND_LINE,
  };
}

interface Part<S extends StoredFile> {
  stored: S;
  bytes: Uint8Array;
}

function readManifest(cache: Cache, recipe: ImageRecipe): Manifest | undefined {
  const manifest = cache.readJson(manifestFile(recipe));
  return isManifest(manifest) ? manifest : undefined;
}

function readKernel(cache: Cache, stored: StoredKernel): Part<StoredKernel> | undefined {
  const bytes = cache.read(stored);
  return bytes && { stored, bytes };
}

function readInitrd(cache: Cache, stored: StoredInitrd): Part<StoredInitrd> | undefined {
  if (stored.recipe !== recipeHash()) return undefined;
  const bytes = cache.read(stored);
  return bytes && { stored, bytes };
}

async function makeKernel(store: PackageStore, recipe: ImageRecipe): Promise<Part<StoredKernel>> {
  let record = await store.find(recipe.codename, KERNEL_METAPACKAGE, ARCHITECTURE);
  // The metapackage depends on the current kernel's package; where a release splits that, it depends on the binary's.
  for (;;) {
    const next = kernelDependency(record);
    if (next === undefined) break;
    record = await store.find(recipe.codename, next.name, ARCHITECTURE, next.version);
  }
  const deb = await store.fetch(record);
  for await (const entry of deb.files({ filter: (path) => kernelVersionOf(path) !== undefined })) {
    const kernelVersion = kernelVersionOf(entry.path);
    if (entry.type !== 'file' || kernelVersion === undefined) continue;
    const stored = store.cache.write(`${folderOf(recipe)}/vmlinuz-${kernelVersion}`, entry.data);
    return { stored: { ...stored, kernelVersion, source: sourceOf(deb) }, bytes: entry.data };
  }
  throw new UserError(`the package ${record.name} ${record.version} holds no kernel`);
}

function kernelDependency(record: PackageRecord): PackageRecord['depends'][number] | undefined {
  return record.depends.find(({ name }) => /^linux-(image|binary)-\d.*-cloud-amd64$/.test(name));
}

function kernelVersionOf(path: string): string | undefined {
  return /^boot\/vmlinuz-([^/]+)$/.exec(path)?.[1] ?? /^(?:usr\/)?lib\/modules\/([^/]+)\/vmlinuz$/.exec(path)?.[1];
}

async function makeInitrd(
  store: PackageStore,
  recipe: ImageRecipe,
  options: ResolveOptions,
): Promise<Part<StoredInitrd>> {
  const deb = await store.fetchKept(recipe.codename, BUSYBOX_PACKAGE, ARCHITECTURE, {
    refresh: options.refresh ?? false,
  });
  for await (const entry of deb.files({ filter: (path) => /^(?:usr\/)?bin\/busybox$/.test(path) })) {
    if (entry.type !== 'file') continue;
    const bytes = buildInitramfs(entry.data);
    const name = `initrd-${hash('sha256', bytes, 'hex').slice(0, 16)}.cpio`;
    const stored = store.cache.write(`${folderOf(recipe)}/${name}`, bytes);
    return { stored: { ...stored, recipe: recipeHash(), source: sourceOf(deb) }, bytes };
  }
  throw new UserError(`the package ${deb.name} ${deb.version} holds no busybox`);
}

function sourceOf({ name, version, url, sha256 }: FetchedPackage): Source {
  return { name, version, url, sha256 };
}

function recipeHash(): string {
  return hash('sha256', INITRAMFS_RECIPE, 'hex');
}

function folderOf(recipe: ImageRecipe): string {
  return `images/${recipe.name.replace(':', '-')}`;
}

function manifestFile(recipe: ImageRecipe): string {
  return `${folderOf(recipe)}/manifest.json`;
}
