// The guest's first file system: busybox, its applets as links, a minimal /etc, and process 1 (guest-init.sh).
// It stays uncompressed: what the host saves by compressing, the guest's processor would pay at every boot.

import { readFileSync } from 'node:fs';
import { listApplets } from './busybox.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';

const guestInit = readFileSync(new URL('guest-init.sh', import.meta.url), 'utf8');

/** Part of the cache key, with the script itself: raise it when the entries below change. */
const LAYOUT_VERSION = 3;
export const INITRAMFS_RECIPE = `${LAYOUT_VERSION}\n${guestInit}`;

const FSTAB = `proc /proc proc defaults 0 0
sysfs /sys sysfs defaults 0 0
devpts /dev/pts devpts gid=5,mode=620,ptmxmode=666 0 0
tmpfs /run tmpfs mode=755 0 0
`;

/** An initramfs around the given busybox binary; `createOverlay` archives may follow it. */
export function buildInitramfs(busybox: Uint8Array): Uint8Array {
  const entries: CpioEntry[] = [
    ...[
      'dev',
      'etc',
      'etc/bulkhead',
      'mnt',
      'proc',
      'run',
      'sys',
      'usr',
      'usr/bin',
      'usr/lib',
      'usr/local',
      'usr/local/bin',
      'var',
    ].map(directory),
    { path: 'root', type: 'directory', mode: 0o700 },
    { path: 'tmp', type: 'directory', mode: 0o1777 },
    symlink('bin', 'usr/bin'),
    symlink('sbin', 'usr/bin'),
    symlink('lib', 'usr/lib'),
    symlink('usr/sbin', 'bin'),
    symlink('var/run', '/run'),
    symlink('var/tmp', '/tmp'),
    // The kernel opens it for process 1 before anything is mounted.
    { path: 'dev/console', type: 'characterDevice', mode: 0o600, device: [5, 1] },
    { path: 'dev/null', type: 'characterDevice', mode: 0o666, device: [1, 3] },
    { path: 'init', type: 'file', mode: 0o755, data: guestInit },
    text('etc/fstab', FSTAB),
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n'),
    text('etc/group', 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n'),
    text('etc/hostname', 'debian\n'),
    text('etc/hosts', '127.0.0.1 localhost debian\n'),
    // What a full /dev has and the kernel's devtmpfs has not.
    ...['etc/bulkhead/dev', 'etc/bulkhead/dev/pts', 'etc/bulkhead/dev/shm'].map(directory),
    symlink('etc/bulkhead/dev/fd', '/proc/self/fd'),
    symlink('etc/bulkhead/dev/stdin', '/proc/self/fd/0'),
    symlink('etc/bulkhead/dev/stdout', '/proc/self/fd/1'),
    symlink('etc/bulkhead/dev/stderr', '/proc/self/fd/2'),
    { path: 'etc/bulkhead/stdin', type: 'fifo', mode: 0o600 },
    { path: 'usr/bin/busybox', type: 'file', mode: 0o755, data: busybox },
    ...listApplets(busybox)
      .filter((applet) => applet !== 'busybox' && applet !== 'modprobe')
      .map((applet) => symlink(`usr/bin/${applet}`, 'busybox')),
    // Out of the kernel's sight, which is /sbin/modprobe: 14 times during boot it would start it for missing modules.
    symlink('usr/local/bin/modprobe', '../../bin/busybox'),
  ];
  return writeCpio(entries);
}

function directory(path: string): CpioEntry {
  return { path, type: 'directory', mode: 0o755 };
}

function symlink(path: string, target: string): CpioEntry {
  return { path, type: 'symlink', mode: 0o777, data: target };
}

function text(path: string, data: string): CpioEntry {
  return { path, type: 'file', mode: 0o644, data };
}
