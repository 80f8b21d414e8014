import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { FixtureArchive, type FixtureKey, type FixturePackage, fakeBusybox, makeKey } from './archive.fixture.ts';
import { listImages, type ResolveOptions, resolveImage } from './images.ts';
import { fetchPackage } from './packages.ts';
import type { Progress } from './progress.ts';

const KERNEL = Buffer.from(`MZ kernel ${'x'.repeat(100_000)}`);
const VERSION = '6.12.1+deb13-cloud-amd64';
const PACKAGES: FixturePackage[] = [
  { name: 'linux-image-amd64', depends: 'linux-image-6.12.1+deb13-amd64 (= 1.0-1)' },
  { name: 'linux-image-cloud-amd64', depends: `kmod, linux-image-${VERSION} (= 1.0-1)` },
  { name: `linux-image-${VERSION}`, files: { 'boot/': '', [`boot/vmlinuz-${VERSION}`]: KERNEL, 'boot/late': 'x' } },
  { name: `linux-image-${VERSION}-dbg`, files: { 'boot/vmlinuz-wrong': 'no' } },
  { name: 'busybox-static', files: { 'usr/bin/busybox': fakeBusybox() } },
  { name: 'busybox-static', architecture: 'i386', files: { 'bin/busybox': 'of i386', 'usr/share/doc/x': 'text' } },
];

describe('guest images', () => {
  let key: FixtureKey;
  let folder: string;
  let archive: FixtureArchive;
  let options: ResolveOptions;

  before(async () => {
    key = await makeKey();
  });

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'bulkhead-images-'));
    writeFileSync(join(folder, 'keys.asc'), key.publicArmored);
    archive = await FixtureArchive.start({ packages: PACKAGES, key });
    options = optionsFor(archive.url);
  });

  afterEach(async () => {
    await archive.stop();
    rmSync(folder, { recursive: true });
  });

  function optionsFor(mirror: string): ResolveOptions {
    return {
      mirror,
      keyring: join(folder, 'keys.asc'),
      env: { XDG_CACHE_HOME: folder },
      aptFolder: join(folder, 'apt'),
    };
  }

  function cachedFiles(): string[] {
    const cache = join(folder, 'bulkhead');
    if (!existsSync(cache)) return [];
    return readdirSync(cache, { recursive: true, withFileTypes: true }).flatMap((e) => (e.isFile() ? [e.name] : []));
  }

  async function restartWith(packages: FixturePackage[], releaseFields?: string): Promise<void> {
    await archive.stop();
    archive = await FixtureArchive.start({ packages, key, releaseFields });
    options = optionsFor(archive.url);
  }

  test('an image is made from the archive: the metapackage leads to the kernel, busybox to the initramfs', async () => {
    const image = await resolveImage('debian', options);
    assert.equal(image.name, 'debian:13');
    assert.equal(image.kernelVersion, VERSION);
    assert.deepEqual(Buffer.from(image.kernel), KERNEL);
    assert.deepEqual(readFileSync(image.kernelPath), KERNEL);
    assert.deepEqual(readFileSync(image.initrdPath), Buffer.from(image.initrd));
    assert.ok(Buffer.from(image.initrd).includes('usr/bin/applet7\0'));
    assert.match(image.defaultCommandLine, /console=ttyS0/);
  });

  test('only what is needed is downloaded', async () => {
    await resolveImage('debian', options);
    const pools = archive.requests.filter((path) => path.startsWith('pool/'));
    assert.deepEqual(pools.sort(), [archive.poolPath('busybox-static'), archive.poolPath(`linux-image-${VERSION}`)]);
  });

  test('a second start needs no network and gives the same image', async () => {
    const first = await resolveImage('debian', options);
    await archive.stop();
    const second = await resolveImage('debian:trixie', { ...options, offline: true });
    assert.deepEqual(second, first);
  });

  test('the index is fetched by its hash, and by its name where the mirror has no hashes', async () => {
    await resolveImage('debian', options);
    const byHash = archive.requests.find((path) => path.includes('/by-hash/'));
    assert.ok(byHash);
    assert.ok(!archive.requests.includes('dists/trixie/main/binary-amd64/Packages.gz'));
    archive.faults.set(byHash, { status: 404 });
    await resolveImage('debian', { ...options, refresh: true });
    assert.ok(archive.requests.includes('dists/trixie/main/binary-amd64/Packages.gz'));
  });

  test('a kernel that a release splits off into linux-binary is found behind the image package', async () => {
    await restartWith([
      { name: 'linux-image-cloud-amd64', depends: `linux-image-${VERSION} (= 1.0-1)` },
      { name: `linux-image-${VERSION}`, depends: `linux-modules-${VERSION}, linux-binary-${VERSION} (= 1.0-1)` },
      { name: `linux-binary-${VERSION}`, files: { [`usr/lib/modules/${VERSION}/vmlinuz`]: KERNEL } },
      { name: 'busybox-static', files: { 'usr/bin/busybox': fakeBusybox() } },
    ]);
    assert.deepEqual(Buffer.from((await resolveImage('debian', options)).kernel), KERNEL);
  });

  test('progress names each transfer, counts its bytes and ends it', async () => {
    const transfers: { label: string; total: number | undefined; received: number; finished: boolean }[] = [];
    const progress: Progress = {
      start: (label, total) => transfers.push({ label, total, received: 0, finished: false }),
      advance: (bytes) => {
        transfers.at(-1)!.received += bytes;
      },
      finish: () => {
        transfers.at(-1)!.finished = true;
      },
    };
    await resolveImage('debian', { ...options, progress });
    assert.equal(transfers.length, 4);
    for (const transfer of transfers) assert.equal(transfer.received, transfer.total, transfer.label);
    assert.ok(transfers.every((transfer) => transfer.finished));
  });

  test('a damaged kernel in the cache is noticed and made anew', async () => {
    const { kernelPath } = await resolveImage('debian', options);
    writeFileSync(kernelPath, Buffer.from(KERNEL).fill(0, 50, 51));
    assert.deepEqual(Buffer.from((await resolveImage('debian', options)).kernel), KERNEL);
    assert.deepEqual(readFileSync(kernelPath), KERNEL);
  });

  test('a damaged kernel in the cache is refused without a network', async () => {
    const { kernelPath } = await resolveImage('debian', options);
    writeFileSync(kernelPath, 'short');
    await assert.rejects(resolveImage('debian', { ...options, offline: true }), userError(/not in the cache/));
  });

  test('an initramfs damaged or of an older recipe is rebuilt from the kept busybox, without a network', async () => {
    const first = await resolveImage('debian', options);
    const manifestPath = join(folder, 'bulkhead/images/debian-13/manifest.json');
    const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
    manifest.initrd.recipe = 'an older one';
    writeFileSync(manifestPath, JSON.stringify(manifest));
    assert.deepEqual(await resolveImage('debian', { ...options, offline: true }), first);
    writeFileSync(first.initrdPath, 'damaged');
    assert.deepEqual(await resolveImage('debian', { ...options, offline: true }), first);
  });

  test('a manifest that is no JSON or has another shape counts as none', async () => {
    const manifestPath = join(folder, 'bulkhead/images/debian-13/manifest.json');
    await resolveImage('debian', options);
    for (const text of ['{', '{"kernel":1}']) {
      writeFileSync(manifestPath, text);
      assert.equal((await resolveImage('debian', options)).kernelVersion, VERSION);
    }
  });

  test('two that make the same image at once both get it, and leave no temporary file', async () => {
    const [one, other] = await Promise.all([resolveImage('debian', options), resolveImage('debian', options)]);
    assert.deepEqual(one, other);
    assert.deepEqual(
      cachedFiles().filter((name) => name.endsWith('.tmp')),
      [],
    );
    assert.deepEqual(await resolveImage('debian', { ...options, offline: true }), one);
  });

  test('refresh takes the newer kernel and removes the older one', async () => {
    const old = await resolveImage('debian', options);
    const newer = '6.12.2+deb13-cloud-amd64';
    await restartWith([
      { name: 'linux-image-cloud-amd64', depends: `linux-image-${newer} (= 1.0-2)` },
      { name: `linux-image-${newer}`, version: '1.0-2', files: { [`boot/vmlinuz-${newer}`]: 'newer' } },
      { name: 'busybox-static', files: { 'usr/bin/busybox': fakeBusybox() } },
    ]);
    assert.equal((await resolveImage('debian', options)).kernelVersion, VERSION);
    assert.equal((await resolveImage('debian', { ...options, refresh: true })).kernelVersion, newer);
    assert.ok(!existsSync(old.kernelPath));
  });

  describe('refuses, and keeps nothing,', () => {
    afterEach(() => assert.deepEqual(cachedFiles(), []));

    test('a release file that another key has signed', async () => {
      writeFileSync(join(folder, 'keys.asc'), (await makeKey()).publicArmored);
      await assert.rejects(resolveImage('debian', options), userError(/no signature by a trusted key/));
    });

    test("by default a release file that none of Debian's keys has signed", async () => {
      const { keyring: _, ...byDefault } = options;
      await assert.rejects(resolveImage('debian', byDefault), userError(/no signature by a trusted key/));
    });

    test('a release file that was changed after it was signed', async () => {
      const path = 'dists/trixie/InRelease';
      const text = Buffer.from(archive.files.get(path)!).toString();
      archive.faults.set(path, { bytes: Buffer.from(text.replace('Suite: stable', 'Suite: stablE')) });
      await assert.rejects(resolveImage('debian', options), userError(/no signature by a trusted key/));
    });

    test('a release file that is not signed at all', async () => {
      archive.faults.set('dists/trixie/InRelease', { bytes: Buffer.from('Codename: trixie\n') });
      await assert.rejects(resolveImage('debian', options), userError(/not a signed message/));
    });

    test('the release file of another release', async () => {
      const other = await FixtureArchive.start({ packages: PACKAGES, key, codename: 'sid' });
      archive.faults.set('dists/trixie/InRelease', { bytes: other.files.get('dists/sid/InRelease')! });
      await other.stop();
      await assert.rejects(resolveImage('debian', options), userError(/it is for sid, and trixie was asked for/));
    });

    test('a release file that has expired', async () => {
      await restartWith(PACKAGES, 'Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC');
      await assert.rejects(resolveImage('debian', options), userError(/valid until Sat, 01 Jan 2022/));
    });

    test('an index that does not have the hash of the release file', async () => {
      const path = archive.requests;
      await resolveIgnoringFailure();
      const index = path.find((name) => name.includes('/by-hash/'))!;
      rmSync(join(folder, 'bulkhead'), { recursive: true });
      archive.faults.set(index, { bytes: flipBit(archive.files.get(index)!) });
      await assert.rejects(resolveImage('debian', options), userError(/package index .* is corrupt/));
    });

    test('a package that does not have the hash of the index', async () => {
      const path = archive.poolPath(`linux-image-${VERSION}`);
      archive.faults.set(path, { bytes: flipBit(archive.files.get(path)!) });
      await assert.rejects(resolveImage('debian', options), userError(/is corrupt: its SHA-256 is [0-9a-f]{64}/));
    });

    test('a package that is longer than the index says', async () => {
      const path = archive.poolPath(`linux-image-${VERSION}`);
      archive.faults.set(path, { bytes: Buffer.concat([archive.files.get(path)!, Buffer.from('!')]) });
      await assert.rejects(resolveImage('debian', options), userError(/is corrupt: it is longer than/));
    });

    test('a package that comes up short, after a second attempt', async () => {
      const path = archive.poolPath(`linux-image-${VERSION}`);
      archive.faults.set(path, { bytes: archive.files.get(path)!.subarray(0, 100) });
      await assert.rejects(resolveImage('debian', options), userError(/broke off after 100 bytes/));
      assert.equal(archive.requests.filter((request) => request === path).length, 2);
    });

    test('a transfer that breaks off in its middle', async () => {
      const path = archive.poolPath(`linux-image-${VERSION}`);
      archive.faults.set(path, { breakOffAfterBytes: 50 });
      await assert.rejects(resolveImage('debian', options), userError(/broke off after \d+ bytes/));
    });

    test('a mirror that has the release no more', async () => {
      await assert.rejects(resolveImage('debian:12', options), userError(/HTTP 404 .*bookworm\/InRelease/));
    });

    test('a mirror out of reach', async () => {
      const { url } = archive;
      await archive.stop();
      await assert.rejects(resolveImage('debian', optionsFor(url)), userError(/cannot reach the mirror at 127.0.0.1/));
    });

    test('a host without any mirror', async () => {
      const { mirror: _, ...withoutMirror } = options;
      await assert.rejects(resolveImage('debian', withoutMirror), userError(/no Debian mirror is known/));
    });

    test('a keyring that is none', async () => {
      writeFileSync(join(folder, 'keys.asc'), 'no keys here');
      await assert.rejects(resolveImage('debian', options), userError(/cannot read keys from the keyring/));
    });

    test('an image that there is not, naming those that there are', async () => {
      await assert.rejects(resolveImage('fedora', options), (error) => {
        assert.ok(error instanceof UserError);
        assert.equal(error.message, 'no such image: fedora');
        for (const { name } of listImages()) assert.ok(error.hint?.includes(name));
        return true;
      });
    });

    test('anything that is not cached when the network may not be used', async () => {
      await assert.rejects(resolveImage('debian', { ...options, offline: true }), userError(/not in the cache/));
      assert.deepEqual(archive.requests, []);
    });
  });

  test('a cache folder that cannot be written is named', async () => {
    writeFileSync(join(folder, 'bulkhead'), 'a file in the way');
    await assert.rejects(resolveImage('debian', options), userError(/cannot write the cache file .*bulkhead/));
  });

  test('any package can be fetched and its files read, the second time without a network', async () => {
    for (const offline of [false, true]) {
      const fetched = await fetchPackage('trixie', 'busybox-static', 'i386', { ...options, offline });
      assert.equal(fetched.version, '1.0-1');
      const files: Record<string, string> = {};
      for await (const entry of fetched.files()) files[entry.path] = Buffer.from(entry.data).toString();
      assert.deepEqual(files, { 'bin/busybox': 'of i386', 'usr/share/doc/x': 'text' });
    }
  });

  test('a proxy of the environment is used, and is forgotten afterwards', async () => {
    const mirror = 'http://mirror.invalid/debian';
    const proxied = { ...options, mirror, env: { ...options.env, http_proxy: new URL(archive.url).origin } };
    assert.deepEqual(Buffer.from((await resolveImage('debian', proxied)).kernel), KERNEL);
    await assert.rejects(
      resolveImage('debian', { ...options, mirror, refresh: true }),
      userError(/cannot reach the mirror at mirror.invalid/),
    );
  });

  test('a package that there is not, or whose name is no name, is refused', async () => {
    await assert.rejects(
      fetchPackage('trixie', 'nothing', 'amd64', options),
      userError(/trixie has no package nothing/),
    );
    await assert.rejects(fetchPackage('trixie', '../../x', 'amd64', options), userError(/not a name/));
  });

  async function resolveIgnoringFailure(): Promise<void> {
    await resolveImage('debian', options).catch(() => {});
  }
});

function userError(message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof UserError, String(error));
    assert.match(error.message, message);
    assert.ok(!error.message.includes('\n'));
    return true;
  };
}

function flipBit(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[copy.length >> 1]! ^= 1;
  return copy;
}
