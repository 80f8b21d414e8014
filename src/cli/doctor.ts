// `bulkhead doctor`: what this host offers to guests, and what Bulkhead will use of it.

import { availableParallelism, freemem, totalmem } from 'node:os';
import { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import type { KvmCheck, KvmReport } from '../engine/kvm/kvm-check.ts';
import { examineKvm } from '../engine/kvm/kvm-report.ts';
import { Cache } from '../images/cache.ts';
import { findMirror } from '../images/mirror.ts';
import { MAXIMUM_RAM_BYTES } from '../machine/config.ts';
import { formatOption, imageStates } from './images.ts';
import { formatMemorySize } from './memory-size.ts';

export interface Report {
  /** What `bulkhead run` takes by itself. */
  engine: { used: 'kvm' | 'software'; reason: string };
  kvm: KvmReport;
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

async function examineHost(): Promise<Report> {
  const kvm = await examineKvm();
  const constrained = process.constrainedMemory();
  return {
    engine: {
      used: kvm.usable ? 'kvm' : 'software',
      reason: kvm.usable ? 'KVM works here, and it is the fastest' : 'it runs everywhere, and KVM cannot be used here',
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

export function formatReport(report: Report): string {
  const { engine, kvm, node, host, cache, mirror } = report;
  const images = cache.images.map(
    ({ name, cachedKernelVersion }) => `${name} ${cachedKernelVersion ?? 'not fetched yet'}`,
  );
  const rows: [string, string][] = [
    ['engine', `${engine.used}: ${engine.reason}`],
    ['KVM', `${kvm.usable ? 'usable' : 'not usable'}: ${kvm.reason}`],
    ...kvm.checks.flatMap(describeCheck),
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

/** A check that has not passed has its remedy on a line of its own. */
function describeCheck({ name, passed, finding, remedy }: KvmCheck): [string, string][] {
  const first: [string, string] = ['', `${passed ? 'ok     ' : 'missing'} ${name}: ${finding}`];
  return remedy === undefined ? [first] : [first, ['', `        remedy: ${remedy}`]];
}

function formatGib(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
