// Runs fuzz cases on the host's own processor: compiles oracle.c once into the user's cache folder and talks to it
// through pipes. Records go both ways without framing, so that thousands of cases are under way at a time.

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { arch, homedir, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Feature } from '../../src/isa/row.ts';
import { codeAddress, decodeOutcome, encodeCase, type Outcome, outcomeBytes, type TestCase } from './fuzz-case.ts';
import { findSegment, LDT_SEGMENTS, PAGE_BYTES, PAGES, pageContent } from './layout.ts';

const SOURCE = join(import.meta.dirname, 'oracle.c');
const CC_FLAGS = [
  '-O2',
  '-ffreestanding',
  '-nostdlib',
  '-static-pie',
  '-fPIE',
  '-fno-stack-protector',
  '-fvisibility=hidden',
  '-fcf-protection=none',
  '-mgeneral-regs-only',
  '-mno-red-zone',
  '-mfsgsbase',
];
const GREETING_BYTES = 64 + 16 + 16;
const GREETING_MAGIC = 0x4c43524f;

/** Why this host has no oracle; undefined if it has one. */
export function oracleUnavailable(): string | undefined {
  if (platform() !== 'linux' || arch() !== 'x64') return `the host is ${platform()} ${arch()}, not x86-64 Linux`;
  if (spawnSync('cc', ['--version']).status !== 0) return 'no C compiler (cc) on the path';
  return undefined;
}

function compileOracle(): string {
  const source = readFileSync(SOURCE);
  const digest = createHash('sha256').update(source).update(CC_FLAGS.join(' ')).digest('hex').slice(0, 16);
  const cacheHome = process.env.XDG_CACHE_HOME ?? join(homedir() || tmpdir(), '.cache');
  const folder = join(cacheHome, 'bulkhead', 'oracle');
  const program = join(folder, digest);
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  const compiled = spawnSync('cc', [...CC_FLAGS, '-o', unfinished, SOURCE], { encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(`cc failed on ${SOURCE}:\n${compiled.stderr}`);
  renameSync(unfinished, program);
  return program;
}

/** CPUID registers of the host that decide which forms it can run. */
export interface HostProcessor {
  vendor: string;
  features: ReadonlySet<Feature>;
  /** The kernel has modify_ldt: 16-bit code and segments with limits can be made. */
  hasLdt: boolean;
}

const LEAF1_ECX: readonly [Feature, number][] = [
  ['sse3', 0],
  ['pclmulqdq', 1],
  ['ssse3', 9],
  ['cx16', 13],
  ['sse4.1', 19],
  ['sse4.2', 20],
  ['movbe', 22],
  ['popcnt', 23],
  ['aes', 25],
  ['xsave', 27],
  ['rdrand', 30],
];
const LEAF1_EDX: readonly [Feature, number][] = [
  ['x87', 0],
  ['cx8', 8],
  ['cmov', 15],
  ['clflush', 19],
  ['mmx', 23],
  ['fxsr', 24],
  ['sse', 25],
  ['sse2', 26],
];
const LEAF7_EBX: readonly [Feature, number][] = [
  ['invpcid', 10],
  ['rdseed', 18],
  ['smap', 20],
];

function readGreeting(bytes: Buffer): HostProcessor {
  if (bytes.readUInt32LE(0) !== GREETING_MAGIC) throw new Error('the oracle did not greet');
  const word = (index: number) => bytes.readUInt32LE(index * 4);
  const features = new Set<Feature>(['base']);
  const collect = (register: number, bits: readonly [Feature, number][]) => {
    for (const [feature, bit] of bits) if ((register >>> bit) & 1) features.add(feature);
  };
  collect(word(10), LEAF1_ECX);
  collect(word(11), LEAF1_EDX);
  collect(word(13), LEAF7_EBX);
  // The kernel, not only CPUID, decides whether user code may use these.
  if (word(2) !== 0) features.add('fsgsbase');
  if ((word(19) >>> 27) & 1) features.add('rdtscp');
  if (features.has('xsave')) features.add('xsaveopt');
  return {
    vendor: bytes.toString('latin1', 20, 24) + bytes.toString('latin1', 28, 32) + bytes.toString('latin1', 24, 28),
    features,
    hasLdt: word(1) !== 0,
  };
}

function setupRecord(): Uint8Array {
  const record = new Uint8Array(8 + PAGES.length * (16 + PAGE_BYTES) + 8 + LDT_SEGMENTS.length * 16);
  const view = new DataView(record.buffer);
  view.setUint32(0, PAGES.length, true);
  let at = 8;
  for (const page of PAGES) {
    view.setBigUint64(at, BigInt(page.guestVirtual), true);
    view.setUint32(at + 8, 1 | (page.writable ? 2 : 0) | (page.executable ? 4 : 0), true);
    record.set(pageContent(page), at + 16);
    at += 16 + PAGE_BYTES;
  }
  view.setUint32(at, LDT_SEGMENTS.length, true);
  at += 8;
  LDT_SEGMENTS.forEach((segment, number) => {
    const { attributes } = segment;
    const contents = (attributes >> 2) & 3;
    const readOnly = attributes & 2 ? 0 : 1;
    // modify_ldt counts "may not be read" for code where data counts "may not be written": the same descriptor bit.
    const inPages = (attributes >> 15) & 1;
    const flags = ((attributes >> 14) & 1) | (contents << 1) | (readOnly << 3) | (inPages << 4);
    view.setUint32(at, number, true);
    view.setUint32(at + 4, Number(segment.base), true);
    view.setUint32(at + 8, inPages ? segment.limit >>> 12 : segment.limit, true);
    view.setUint32(at + 12, flags, true);
    at += 16;
  });
  return record;
}

export class Oracle {
  readonly host: HostProcessor;
  private readonly child: ChildProcessWithoutNullStreams;
  private received: Buffer;
  private failure: Error | undefined;
  private wake: () => void = () => {};

  private constructor(child: ChildProcessWithoutNullStreams, host: HostProcessor, received: Buffer) {
    this.child = child;
    this.host = host;
    this.received = received;
    child.stdout.on('data', (chunk: Buffer) => {
      this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
      this.wake();
    });
    child.stdin.on('error', () => {});
    child.on('exit', (code, signal) => {
      this.failure = new Error(`the oracle ended: ${signal ?? `status ${code}`}`);
      this.wake();
    });
  }

  static async start(): Promise<Oracle> {
    const child = spawn(compileOracle(), [], { stdio: 'pipe' });
    child.stdin.write(setupRecord());
    let received = Buffer.alloc(0);
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the oracle did not start: status ${code}`)));
      const onData = (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        if (received.length < GREETING_BYTES) return;
        child.stdout.off('data', onData);
        resolve();
      };
      child.stdout.on('data', onData);
    });
    child.removeAllListeners('exit');
    return new Oracle(child, readGreeting(received), received.subarray(GREETING_BYTES));
  }

  /** Outcomes in the order of the cases. */
  async run(cases: readonly TestCase[]): Promise<Outcome[]> {
    const records = cases.map((one) => encodeCase(one, codeAddress(one, findSegment(one.state.cs).base)));
    this.child.stdin.write(Buffer.concat(records));
    const outcomes: Outcome[] = [];
    while (outcomes.length < cases.length) {
      const sizeBytes = outcomeBytes(this.received);
      if (sizeBytes !== undefined) {
        outcomes.push(decodeOutcome(this.received.subarray(0, sizeBytes)));
        this.received = this.received.subarray(sizeBytes);
        continue;
      }
      if (this.failure !== undefined) {
        throw new Error(`${this.failure.message}, at case ${outcomes.length} of ${cases.length}`);
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return outcomes;
  }

  stop(): void {
    this.child.removeAllListeners('exit');
    this.child.stdin.end();
  }
}
