// `bulkhead doctor`: what this host offers to guests, and what Bulkhead will use of it.

import { accessSync, constants, existsSync } from 'node:fs';
import { availableParallelism, freemem, totalmem } from 'node:os';
import { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import { Cache } from '../images/cache.ts';
import { findMirror } from '../images/mirror.ts';
import { MAXIMUM_RAM_BYTES } from '../machine/config.ts';
import { formatOption, imageStates } from './images.ts';
import { formatMemorySize } from './memory-size.ts';

const KVM_DEVICE = '/dev/kvm';

export interface Kvm {
  present: boolean;
  /** Why there is none, or why it is not used. */
  reason: string;
}

export interface Report {
  engine: { used: 'software'; reason: string };
  kvm: Kvm;
  node: { version: string; path: string };
  host: { platform: string; architecture: string; processors: number; memoryBytes: number; freeMemoryBytes: number };
  guestMemory: { maximumBytes: number };
  cache: { folder: string; images: { name: string; cachedKernelVersion: string | null }[] };
  mirror: { url: string | null; reason: string | null };
}

export function createDoctorCommand(): Command {
  return new Command('doctor')
    .summary('say what this host offers and what will be used')
    .description('Says what this host offers to guests, and what Bulkhead will use of it. Changes nothing.')
    .addOption(formatOption())
    .addHelpText('after', '\nExamples:\n  bulkhead doctor\n  bulkhead doctor --format json')
    .action(async ({ format }: { format: string }) => {
      const report = await examineHost();
      process.stdout.write(format === 'json' ? `${JSON.stringify(report, undefined, 2)}\n` : formatReport(report));
    });
}

/** How `probeKvm` sees the host; tests have hosts of their own. */
export interface KvmHost {
  platform: string;
  architecture: string;
  exists(): boolean;
  /** Throws as accessSync does. */
  requireAccess(): void;
}

const thisHost: KvmHost = {
  platform: process.platform,
  architecture: process.arch,
  exists: () => existsSync(KVM_DEVICE),
  requireAccess: () => accessSync(KVM_DEVICE, constants.R_OK | constants.W_OK),
};

export function probeKvm(host: KvmHost = thisHost): Kvm {
  if (host.platform !== 'linux') return { present: false, reason: `KVM is a part of Linux; this is ${host.platform}` };
  if (host.architecture !== 'x64') {
    return { present: false, reason: `the host's processor is ${host.architecture}, and guests are x86-64` };
  }
  if (!host.exists()) {
    return { present: false, reason: `no ${KVM_DEVICE}: the host has no virtualization extensions, or hides them` };
  }
  try {
    host.requireAccess();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const reason =
      code === 'EACCES' || code === 'EPERM'
        ? `no permission for ${KVM_DEVICE}; its users are in the group kvm`
        : `${KVM_DEVICE} cannot be used: ${error instanceof Error ? error.message : error}`;
    return { present: false, reason };
  }
  return { present: true, reason: 'not used: the KVM engine is not built yet' };
}

async function examineHost(): Promise<Report> {
  const kvm = probeKvm();
  const constrained = process.constrainedMemory();
  return {
    engine: {
      used: 'software',
      reason: kvm.present ? 'the KVM engine is not built yet' : 'there is no KVM here, and it runs everywhere',
    },
    kvm,
    node: { version: process.versions.node, path: process.execPath },
    host: {
      platform: process.platform,
      architecture: process.arch,
      processors: availableParallelism(),
      // A container's limit, where it is below what the machine has.
      memoryBytes: constrained > 0 ? Math.min(constrained, totalmem()) : totalmem(),
      freeMemoryBytes: Math.min(process.availableMemory(), freemem()),
    },
    guestMemory: { maximumBytes: MAXIMUM_RAM_BYTES },
    cache: {
      folder: Cache.ofUser(process.env).folder,
      images: (await imageStates()).map(({ name, cachedKernelVersion }) => ({ name, cachedKernelVersion })),
    },
    mirror: examineMirror(),
  };
}

function examineMirror(): Report['mirror'] {
  try {
    return { url: findMirror({}).url, reason: null };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { url: null, reason: `${error.message}; ${error.hint}` };
  }
}

function formatReport(report: Report): string {
  const { engine, kvm, node, host, cache, mirror } = report;
  const images = cache.images.map(
    ({ name, cachedKernelVersion }) => `${name} ${cachedKernelVersion ?? 'not fetched yet'}`,
  );
  const rows: [string, string][] = [
    ['engine', `${engine.used}: ${engine.reason}`],
    ['KVM', `${kvm.present ? 'present' : 'none'}: ${kvm.reason}`],
    ['Node', `${node.version} (${node.path})`],
    ['host', `${host.platform} ${host.architecture}, ${host.processors} processors`],
    [
      'memory',
      `${formatGib(host.memoryBytes)}, ${formatGib(host.freeMemoryBytes)} free; ` +
        `a guest can have up to ${formatMemorySize(report.guestMemory.maximumBytes)}`,
    ],
    ['cache', cache.folder],
    ['images', images.join('; ')],
    ['mirror', mirror.url ?? `none: ${mirror.reason}`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(8)}${value}\n`).join('');
}

function formatGib(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
