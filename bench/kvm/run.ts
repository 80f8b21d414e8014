// `npm run bench:kvm`: the KVM engine beside a C program that uses KVM directly (direct.c), on the same guests in
// turns.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as ioctls from '../../src/engine/kvm/ioctls.ts';
import { examineKvm } from '../../src/engine/kvm/kvm-report.ts';
import { KvmVm } from '../../src/engine/kvm/kvm-system.ts';
import { StructBuffer } from '../../src/engine/kvm/struct-layout.ts';
import * as structs from '../../src/engine/kvm/structs.ts';
import { KvmVcpu } from '../../src/engine/kvm/vcpu.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Guest, PLACE } from '../../tests/engine/guest.ts';
import { IdleHost } from '../../tests/engine/idle-host.ts';
import { compileC } from '../../tests/kvm/c-compiler.ts';
import { BENCH_RAM_BYTES, createRows, END, END_PORT, type KvmRow } from './rows.ts';

const HELP = `Usage: npm run bench:kvm -- [options]

Runs small guests on the KVM engine and in a C program of ours that uses KVM directly, in turns, and prints the speed
of each and their ratio: 1 is as fast as C. Of guests that make exits each 256 of them are timed, and the fast ones
count (the tenth percentile), because other work of the host slows some down; of others the fastest run.

  --runs N         runs of each (default 9)
  --quick          little work, to see that everything runs: its ratios say little
  --format FORMAT  text (default) or json
  --save           also write bench/results/<date>-kvm.json
  --help           print this`;

const QUICK_SCALE = 0.02;
const GP = 13;
/** Exits that are timed together, as in direct.c. */
const CHUNK_EXITS = 256;
const QUANTILE = 0.1;
/** At least so much of C's speed. */
const TARGET = 0.95;

class CountingHost extends IdleHost {
  ports = 0;
  accesses = 0;
  ended = false;
  /** Milliseconds, at each CHUNK_EXITS of exits. */
  readonly marks: number[] = [];
  readonly deadline = { nowNs: () => performance.now() * 1e6, nextNs: () => Number.POSITIVE_INFINITY };

  override writePort(port: number): void {
    if (port === END_PORT) this.ended = true;
    else this.mark(++this.ports);
  }

  override interruptPending(): boolean {
    return this.ended;
  }

  override poll(): boolean {
    return this.ended;
  }

  override writeMmio(): void {
    this.mark(++this.accesses);
  }

  start(): void {
    [this.ports, this.accesses, this.ended] = [0, 0, false];
    this.marks.length = 0;
  }

  private mark(exits: number): void {
    if (exits % CHUNK_EXITS === 0) this.marks.push(performance.now());
  }
}

/** One run of a guest: all of it, and each chunk of exits but the first. */
interface Run {
  readonly ns: number;
  readonly chunksNs: readonly number[];
}

/** The time of `row` without what else the host did meanwhile. */
function quietNs({ exits }: KvmRow, runs: readonly Run[]): number {
  const chunksNs = runs.flatMap((run) => run.chunksNs).toSorted((a, b) => a - b);
  const chunkNs = chunksNs[Math.floor(chunksNs.length * QUANTILE)];
  return chunkNs === undefined ? Math.min(...runs.map(({ ns }) => ns)) : (chunkNs / CHUNK_EXITS) * exits;
}

interface RowReport {
  name: string;
  unit: string;
  amount: number;
  /** Without what else the host did: see quietNs. */
  bulkheadNs: number;
  directNs: number;
  /** Our speed over C's. */
  ratio: number;
  /** Each run as a whole. */
  runs: { bulkheadNs: number; directNs: number }[];
}

function checkExits(row: KvmRow, seen: number): void {
  if (seen !== row.exits) throw new Error(`${row.name}: ${seen} exits, not ${row.exits}`);
}

class Bench {
  private readonly host = new CountingHost();
  private readonly memory = createGuestMemory(BENCH_RAM_BYTES);
  private readonly ram = new GuestMemory(this.memory, GUEST_RAM_OFFSET, BENCH_RAM_BYTES);
  private readonly folder = mkdtempSync(join(tmpdir(), 'bulkhead-bench-kvm-'));
  private readonly direct: string;

  constructor(direct: string) {
    this.direct = direct;
  }

  close(): void {
    rmSync(this.folder, { recursive: true });
  }

  run(row: KvmRow, runs: number): RowReport {
    const measured = Array.from({ length: runs }, (_, turn) => {
      // Ours first and C first, in turns. The guest's files are there from the first turn on.
      const directFirst = turn % 2 === 1 ? this.runDirect(row) : undefined;
      const bulkhead = this.runOurs(row);
      return { bulkhead, direct: directFirst ?? this.runDirect(row) };
    });
    const [bulkheadNs, directNs] = (['bulkhead', 'direct'] as const).map((side) =>
      quietNs(
        row,
        measured.map((one) => one[side]),
      ),
    ) as [number, number];
    const { name, unit, amount } = row;
    const whole = measured.map(({ bulkhead, direct }) => ({ bulkheadNs: bulkhead.ns, directNs: direct.ns }));
    return { name, unit, amount, bulkheadNs, directNs, ratio: directNs / bulkheadNs, runs: whole };
  }

  private path(name: string): string {
    return join(this.folder, name);
  }

  /** Leaves the guest as files for the C program too, as it was before its first instruction. */
  private runOurs(row: KvmRow): Run {
    const { host, memory, ram } = this;
    const vm = KvmVm.create({ memory, ramBytes: BENCH_RAM_BYTES, chips: 'kernel' });
    const vcpu = new KvmVcpu({ vm, host, model: 'host', apicBusHz: 1e9 });
    try {
      const guest = new Guest({ vcpu, memory: ram }, host, row.mode, Buffer.from(row.code.replaceAll(' ', ''), 'hex'));
      // What this asks of a processor, every one has.
      guest.state.cr4 &= ~0x5_0000n;
      guest.state.xcr0 = 1n;
      guest.memory.write(PLACE.HANDLERS + GP * 16, Buffer.from(END.replaceAll(' ', ''), 'hex'));
      row.prepare(guest);
      guest.start();
      const regs = new StructBuffer(structs.kvm_regs);
      const sregs = new StructBuffer(structs.kvm_sregs);
      vcpu.exchange(ioctls.KVM_GET_REGS, regs);
      vcpu.exchange(ioctls.KVM_GET_SREGS, sregs);
      writeFileSync(this.path('ram'), ram.bytes(0, BENCH_RAM_BYTES));
      writeFileSync(this.path('regs'), regs.bytes);
      writeFileSync(this.path('sregs'), sregs.bytes);
      host.start();
      const startNs = process.hrtime.bigint();
      const exit = vcpu.run();
      const ns = Number(process.hrtime.bigint() - startNs);
      if (exit.kind !== 'interrupted') throw new Error(`${row.name} ended with ${JSON.stringify(exit)}`);
      checkExits(row, host.ports + host.accesses);
      const { marks } = host;
      return { ns, chunksNs: marks.slice(1).map((mark, index) => (mark - marks[index]!) * 1e6) };
    } finally {
      vcpu.close();
      vm.close();
    }
  }

  private runDirect(row: KvmRow): Run {
    const files = ['ram', 'regs', 'sregs'].map((name) => this.path(name));
    const [sums, chunks] = execFileSync(this.direct, files, { encoding: 'utf8' }).split('\n');
    const [ns, ports, accesses] = sums!.split(' ').map(Number);
    checkExits(row, ports! + accesses!);
    return { ns: ns!, chunksNs: chunks!.split(' ').filter(Boolean).map(Number) };
  }
}

function formatAmount(amountPerSecond: number, unit: string): string {
  const [divisor, prefix] = amountPerSecond >= 1e9 ? [1e9, 'G'] : amountPerSecond >= 1e6 ? [1e6, 'M'] : [1e3, 'k'];
  return `${(amountPerSecond / divisor).toFixed(1)} ${prefix} ${unit}/s`;
}

function formatRow({ name, unit, amount, bulkheadNs, directNs, ratio }: RowReport): string {
  const [ours, theirs] = [bulkheadNs, directNs].map((ns) => formatAmount((amount / ns) * 1e9, unit));
  const met = ratio >= TARGET ? 'met' : 'not met';
  return `${name.padEnd(14)}${ours!.padStart(18)}${theirs!.padStart(18)}${ratio.toFixed(2).padStart(8)}  ${met}`;
}

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '9' },
    quick: { type: 'boolean', default: false },
    format: { type: 'string', default: 'text' },
    save: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit();
}
const kvm = await examineKvm();
if (!kvm.opens) {
  console.error(`bench: no KVM to measure: ${kvm.reason}`);
  process.exit(1);
}
const compiled = compileC(readFileSync(new URL('direct.c', import.meta.url), 'utf8'), ['linux/kvm.h']);
if (typeof compiled === 'string') {
  console.error(`bench: ${compiled}`);
  process.exit(1);
}
const bench = new Bench(compiled.program);
const rows = createRows(values.quick ? QUICK_SCALE : 1).map((row) => bench.run(row, Number(values.runs)));
bench.close();
compiled.remove();
const report = {
  date: new Date().toISOString(),
  host: { processor: cpus()[0]?.model, kernel: release(), node: process.versions.node, kvm: kvm.reason },
  target: TARGET,
  rows,
};
if (values.format === 'json') console.log(JSON.stringify(report, undefined, 2));
else {
  console.log(`${'row'.padEnd(14)}${'Bulkhead'.padStart(18)}${'C'.padStart(18)}${'ratio'.padStart(8)}  >= ${TARGET}`);
  for (const row of rows) console.log(formatRow(row));
}
if (values.save) {
  const folder = fileURLToPath(new URL('../results', import.meta.url));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${report.date.slice(0, 10)}-kvm.json`), `${JSON.stringify(report, undefined, 2)}\n`);
}
