// A guest that makes code, runs it a little and makes other code in its place, as a JIT compiler does.
// `node tests/engine/code-churn.ts 600` does that for 600 seconds and tells what memory it takes meanwhile.

import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { SoftwareVcpu, type SoftwareVcpuOptions } from '../../src/engine/software/vcpu.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Guest, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';

const CODE = 0x2_0000;
const PAGES = 64;
const TURNS = 50;

/** Each function adds its number to ESI 50 times. */
const PROGRAM = [
  // loop: inc ebx; mov byte [rdi], 0xb8; mov [rdi + 1], ebx: the function's `mov eax, number`
  ...[0xff, 0xc3, 0xc6, 0x07, 0xb8, 0x89, 0x5f, 0x01],
  // mov dword [rdi + 5]: add esi, eax; dec ecx. mov dword [rdi + 9]: jnz -11; ret
  ...[0xc7, 0x47, 0x05, 0x01, 0xc6, 0xff, 0xc9, 0xc7, 0x47, 0x09, 0x75, 0xf5, 0xc3, 0x90],
  // mov ecx, TURNS; call rdi; add rdi, 0x1000; cmp rdi, r9; jb +3; mov rdi, r8
  ...[0xb9, TURNS, 0, 0, 0, 0xff, 0xd7, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x4c, 0x39, 0xcf, 0x72, 3, 0x4c, 0x89, 0xc7],
  // dec rdx; jnz loop; hlt
  ...[0x48, 0xff, 0xca, 0x75, 0xcf, 0xf4],
];

export class CodeChurn {
  readonly vcpu: SoftwareVcpu;
  private readonly host = new IdleHost();
  private readonly memory: GuestMemory;

  constructor(options: Pick<SoftwareVcpuOptions, 'codeCacheBytes' | 'recordsBytes'> = {}) {
    const memory = createGuestMemory(RAM_BYTES);
    const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
    const { host } = this;
    this.vcpu = new SoftwareVcpu({ ...options, memory, ramBytes: RAM_BYTES, host, cpuid, translateAfterSamples: 0 });
    this.memory = new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES);
  }

  /** Makes and runs so many functions; throws when their sum is wrong. */
  run(functions: number): void {
    const { vcpu, memory, host } = this;
    const guest = new Guest({ vcpu, memory }, host, 'kernel64', new Uint8Array(PROGRAM));
    guest.setRegister('rdi', BigInt(CODE));
    guest.setRegister('r8', BigInt(CODE));
    guest.setRegister('r9', BigInt(CODE + PAGES * 4096));
    guest.setRegister('rbx', 0n);
    guest.setRegister('rsi', 0n);
    guest.setRegister('rdx', BigInt(functions));
    guest.start();
    const exit = guest.run();
    const expected = BigInt.asUintN(32, (BigInt(functions) * BigInt(functions + 1) * BigInt(TURNS)) >> 1n);
    const sum = vcpu.getState().gpr[6]!;
    if (exit.kind !== 'halted-forever' || sum !== expected)
      throw new Error(`${exit.kind}, sum ${sum}: not ${expected}`);
  }
}

function describe(churn: CodeChurn): string {
  const { regions, liveModules, recordBytes, flushes } = churn.vcpu.statistics();
  const recordKiB = Math.round((recordBytes ?? 0) / 1024);
  const residentMiB = Math.round(process.memoryUsage.rss() / 1024 ** 2);
  const use = `${liveModules} modules in use, ${recordKiB} KiB of records, ${flushes} flushes`;
  return `${regions} regions, ${use}, ${residentMiB} MiB resident`;
}

/** One call after the other without the event loop in between, as on a machine's thread. */
function churnFor(seconds: number): void {
  const churn = new CodeChurn();
  const startMs = performance.now();
  let toldSeconds = 0;
  let elapsed = 0;
  while (elapsed < seconds) {
    elapsed = (performance.now() - startMs) / 1000;
    churn.run(500);
    if (elapsed - toldSeconds < seconds / 20) continue;
    toldSeconds = elapsed;
    console.log(`${elapsed.toFixed(0)} s: ${describe(churn)}`);
  }
}

if (import.meta.main) churnFor(Number(process.argv[2] ?? 60));
