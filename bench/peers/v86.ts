// v86, an emulator of 32-bit PCs in WebAssembly, in a Node process of its own (v86-guest.ts). It boots Debian's last
// 32-bit kernel, with Debian's firmware: the package of v86 brings none.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../../src/base/errors.ts';
import { buildInitramfs } from '../../src/images/initramfs.ts';
import { createOverlay } from '../../src/images/overlay.ts';
import { fetchPackage } from '../../src/images/packages.ts';
import { debianImage } from './debian-guest.ts';
import { GUEST_MEMORY_MEBIBYTES, type Peer } from './peer.ts';

/** Debian 13 has no kernel for 32-bit processors any more. */
const RELEASE = 'bookworm';
/** Without PAE: v86 boots both. */
const KERNEL_METAPACKAGE = 'linux-image-686';

export const v86: Peer = {
  name: 'v86',
  architecture: 'i386',
  async whyUnavailable() {
    return packageFolder() === undefined ? 'v86 is not installed: npm ci' : undefined;
  },
  async prepare(files, folder) {
    const write = (name: string, bytes: Uint8Array): string => {
      const path = join(folder, name);
      writeFileSync(path, bytes);
      return path;
    };
    const busybox = await packageFile('busybox-static', /^(?:usr\/)?bin\/busybox$/);
    const options = {
      wasm: join(packageFolder()!, 'build/v86.wasm'),
      bios: write('bios.bin', await packageFile('seabios', /\/bios\.bin$/)),
      vgaBios: write('vgabios.bin', await packageFile('seabios', /\/vgabios-stdvga\.bin$/)),
      kernel: write('vmlinuz', await packageFile(await kernelPackage(), /^boot\/vmlinuz-/)),
      initrd: write('initrd.cpio', Buffer.concat([buildInitramfs(busybox), createOverlay({ files })])),
      commandLine: (await debianImage()).defaultCommandLine,
      memoryMebibytes: GUEST_MEMORY_MEBIBYTES,
    };
    const guest = fileURLToPath(new URL('v86-guest.ts', import.meta.url));
    return { file: process.execPath, args: [guest, JSON.stringify(options)], answersCounters: true };
  },
  async describe() {
    const { version } = JSON.parse(readFileSync(join(packageFolder()!, 'package.json'), 'utf8')) as { version: string };
    return { version, kernel: (await kernelPackage()).replace('linux-image-', '') };
  },
};

function packageFolder(): string | undefined {
  try {
    // Its main file is build/libv86.mjs.
    return dirname(dirname(createRequire(import.meta.url).resolve('v86')));
  } catch {
    return undefined;
  }
}

/** The package that the metapackage stands for. */
async function kernelPackage(): Promise<string> {
  const metapackage = await fetchPackage(RELEASE, KERNEL_METAPACKAGE, 'i386');
  for await (const entry of metapackage.files({ part: 'control', filter: (path) => path === 'control' })) {
    const name = /^Depends:.*?\b(linux-image-\d\S*)/m.exec(new TextDecoder().decode(entry.data))?.[1];
    if (name !== undefined) return name;
  }
  throw new UserError(`the package ${KERNEL_METAPACKAGE} ${metapackage.version} names no kernel`);
}

async function packageFile(name: string, path: RegExp): Promise<Uint8Array> {
  const { files, version } = await fetchPackage(RELEASE, name, 'i386');
  for await (const entry of files({ filter: (candidate) => path.test(candidate) })) {
    if (entry.type === 'file') return entry.data;
  }
  throw new UserError(`the package ${name} ${version} has no file ${path.source}`);
}
