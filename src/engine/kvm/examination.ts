// What the KVM of this host can do, found out by using it: its version and extensions, a VM, and a few instructions
// that a stock kernel cannot do without, each run in a guest of a few bytes. There are KVMs without the processor's
// support that emulate ring 0 and lack some of them.

import { CR0, CR4, EFER } from '../../isa/control-registers.ts';
import { MSR } from '../../isa/msrs.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../software/layout.ts';
import type { VcpuHost } from '../vcpu.ts';
import { resetState, SEGMENT_ATTRIBUTE, type SegmentState, type VcpuState } from '../vcpu-state.ts';
import { KVM_CAP } from './ioctls.ts';
import type { KvmCheck } from './kvm-check.ts';
import { KvmError } from './kvm-error.ts';
import { KvmSystem, KvmVm } from './kvm-system.ts';
import { SystemCallError } from './libc.ts';
import { KvmVcpu } from './vcpu.ts';

/** Extensions that the engine uses on every VM. */
const REQUIRED = [
  'IRQCHIP',
  'USER_MEMORY',
  'SET_TSS_ADDR',
  'EXT_CPUID',
  'MP_STATE',
  'PIT2',
  'PIT_STATE2',
  'ADJUST_CLOCK',
  'VCPU_EVENTS',
  'DEBUGREGS',
  'XSAVE',
  'XCRS',
  'GET_TSC_KHZ',
  'X86_USER_SPACE_MSR',
  'X86_MSR_FILTER',
] as const satisfies readonly (keyof typeof KVM_CAP)[];

const MIB = 1024 ** 2;
const RAM_BYTES = 2 * MIB;
const PLACE = {
  GDT: 0x1000,
  IDT: 0x2000,
  PAGE_TABLES: 0x4000,
  CODE: 0x1_0000,
  USER_CODE: 0x1_1000,
  HANDLER: 0x1_2000,
  SYSCALL_ENTRY: 0x1_3000,
  DATA: 0x1_4000,
  STACK: 0x1_8000,
} as const;
/** A guest that has not ended by then never will. */
const LIMIT_MS = 250;
const MARK = 0x42n;

const A = SEGMENT_ATTRIBUTE;
const flat = (selector: number, attributes: number): SegmentState => ({
  selector,
  base: 0n,
  limit: 0xffff_ffff,
  attributes: A.P | A.S | A.G | attributes,
});
const KERNEL_CODE = flat(0x08, A.L | 0xb);
const KERNEL_DATA = flat(0x10, A.DB | 0x3);
const USER_DATA = flat(0x23, A.DPL_MASK | A.DB | 0x3);
const USER_CODE = flat(0x2b, A.DPL_MASK | A.L | 0xb);

interface Snippet {
  /** What a stock kernel needs it for is in the name. */
  readonly name: string;
  /** Hexadecimal; 64-bit code that ends in HLT at CPL 0 with 0x42 in RBX. RSI points to zeroed memory. */
  readonly code: string;
  readonly ring3?: boolean;
}

const DONE = 'b3 42 f4'; // mov bl, 0x42; hlt
const SNIPPETS: readonly Snippet[] = [
  { name: 'int3', code: `31 db cc ${DONE}` },
  { name: 'cmpxchg16b', code: `31 c0 31 d2 31 db 31 c9 48 0f c7 0e ${DONE}` },
  { name: 'fxsave and fxrstor', code: `48 0f ae 06 48 0f ae 0e ${DONE}` },
  { name: 'SSE in ring 0', code: `0f 28 c1 ${DONE}` },
  { name: 'swapgs', code: `0f 01 f8 0f 01 f8 ${DONE}` },
  { name: 'syscall', code: '0f 05 0f 0b', ring3: true },
];

class ExaminationHost implements VcpuHost {
  private endMs = 0;

  startLimit(): void {
    this.endMs = performance.now() + LIMIT_MS;
  }

  readPort(_port: number, sizeBytes: number): number {
    return 2 ** (sizeBytes * 8) - 1;
  }
  writePort(): void {}
  readMmio(_guestPhysical: number, sizeBytes: number): number {
    return 2 ** (sizeBytes * 8) - 1;
  }
  writeMmio(): void {}
  acknowledgeInterrupt(): number {
    return -1;
  }
  interruptPending(): boolean {
    return false;
  }
  takeNmi(): boolean {
    return false;
  }
  getCr8(): number {
    return 0;
  }
  setCr8(): void {}
  readMsr(): bigint | undefined {
    return undefined;
  }
  writeMsr(): boolean {
    return false;
  }
  poll(): boolean {
    return performance.now() > this.endMs;
  }
  waitForInterrupt(): void {}
  readTsc(): number {
    return 0;
  }
}

type Step = readonly [name: string, look: () => KvmCheck];

const STEPS: readonly Step[] = [
  ['interface', checkExtensions],
  ['VM', checkVm],
  ['kernel', checkStockKernel],
];

/** Continues checkDevice(), up to the first check that has not passed. */
export function checkEngine(steps: readonly Step[] = STEPS): KvmCheck[] {
  const checks: KvmCheck[] = [];
  for (const [name, look] of steps) {
    try {
      checks.push(look());
    } catch (error) {
      checks.push(failedCheck(name, error));
    }
    if (!checks.at(-1)!.passed) break;
  }
  return checks;
}

/** What stands in the host's way is a finding; anything else is a defect, and thrown. */
function failedCheck(name: string, error: unknown): KvmCheck {
  const see = 'see the kernel log (dmesg)';
  if (error instanceof KvmError) {
    return { name, passed: false, finding: error.failure, remedy: error.meaning ?? see };
  }
  if (error instanceof SystemCallError) {
    return { name, passed: false, finding: error.message, remedy: error.meaning ?? see };
  }
  // WebAssembly.Memory has no other for want of address space.
  if (error instanceof RangeError) {
    const finding = `no memory for a guest: ${error.message}`;
    return { name, passed: false, finding, remedy: 'raise the limit on address space (ulimit -v)' };
  }
  throw error;
}

function checkExtensions(): KvmCheck {
  const system = KvmSystem.open();
  try {
    const missing = REQUIRED.filter((name) => system.extension(KVM_CAP[name]) === 0);
    if (missing.length === 0)
      return { name: 'interface', passed: true, finding: 'version 12, with all that is needed' };
    const finding = `KVM has no ${missing.map((name) => `KVM_CAP_${name}`).join(', ')}`;
    return { name: 'interface', passed: false, finding, remedy: 'use a newer kernel on the host: Linux 5.10 or later' };
  } finally {
    system.close();
  }
}

function checkVm(): KvmCheck {
  KvmVm.create({ memory: createGuestMemory(RAM_BYTES), ramBytes: RAM_BYTES, chips: 'kernel' }).close();
  return { name: 'VM', passed: true, finding: 'can be made, with interrupt controllers' };
}

function checkStockKernel(): KvmCheck {
  const missing = findMissingInstructions();
  if (missing.length === 0) return { name: 'kernel', passed: true, finding: 'what a stock kernel needs can be run' };
  return {
    name: 'kernel',
    passed: false,
    finding: `this KVM cannot run a stock kernel: it has no ${missing.join(', ')}`,
    remedy: 'use a host whose processor has SVM or VMX (kvm_amd, kvm_intel); small guests run with --engine kvm',
  };
}

/** Names of what does not run as it should. */
export function findMissingInstructions(): string[] {
  const missing: string[] = [];
  let bench: Bench | undefined;
  try {
    for (const snippet of SNIPPETS) {
      bench ??= new Bench();
      if (bench.runs(snippet)) continue;
      missing.push(snippet.name);
      // What failed may have left something behind; what runs has not, and making a VM takes some ten milliseconds.
      bench.close();
      bench = undefined;
    }
  } finally {
    bench?.close();
  }
  return missing;
}

/** A VM with one processor, on which snippets run one after the other. */
class Bench {
  private readonly host = new ExaminationHost();
  private readonly memory = createGuestMemory(RAM_BYTES);
  private readonly vm: KvmVm;
  private readonly vcpu: KvmVcpu;

  constructor() {
    this.vm = KvmVm.create({ memory: this.memory, ramBytes: RAM_BYTES, chips: 'host' });
    try {
      this.vcpu = new KvmVcpu({ vm: this.vm, host: this.host, model: 'host', apicBusHz: 1e9 });
    } catch (error) {
      this.vm.close();
      throw error;
    }
  }

  runs(snippet: Snippet): boolean {
    const { vcpu, memory } = this;
    new Uint8Array(memory.buffer, GUEST_RAM_OFFSET, RAM_BYTES).fill(0);
    fillMemory(new DataView(memory.buffer, GUEST_RAM_OFFSET, RAM_BYTES), snippet);
    vcpu.invalidateCode(0, RAM_BYTES);
    vcpu.setState(initialState(snippet.ring3 ?? false));
    this.host.startLimit();
    if (vcpu.run().kind !== 'halted-forever') return false;
    const { gpr, segments } = vcpu.getState();
    return (gpr[3]! & 0xffn) === MARK && (segments.cs.selector & 3) === 0;
  }

  close(): void {
    this.vcpu.close();
    this.vm.close();
  }
}

function fillMemory(ram: DataView, { code, ring3 = false }: Snippet): void {
  const put = (guestPhysical: number, text: string): void => {
    const words = text.trim().split(/\s+/);
    for (const [at, word] of words.entries()) ram.setUint8(guestPhysical + at, Number.parseInt(word, 16));
  };
  for (const { selector, attributes } of [KERNEL_CODE, KERNEL_DATA, USER_DATA, USER_CODE]) {
    const high = 0x000f_0000 | ((attributes & 0xff) << 8) | (((attributes >> 12) & 0xf) << 20);
    ram.setUint32(PLACE.GDT + (selector & ~7), 0xffff, true);
    ram.setUint32(PLACE.GDT + (selector & ~7) + 4, high, true);
  }
  // INT3 goes to an IRETQ; every other exception finds no gate and ends in a shutdown.
  ram.setUint32(PLACE.IDT + 3 * 16, (KERNEL_CODE.selector << 16) | (PLACE.HANDLER & 0xffff), true);
  ram.setUint32(PLACE.IDT + 3 * 16 + 4, (PLACE.HANDLER & 0xffff_0000) | 0xee00, true);
  put(PLACE.HANDLER, '48 cf');
  put(PLACE.SYSCALL_ENTRY, DONE);
  put(ring3 ? PLACE.USER_CODE : PLACE.CODE, code);
  const [PRESENT, WRITABLE, USER, LARGE] = [1, 2, 4, 0x80];
  const table = PRESENT | WRITABLE | USER;
  ram.setUint32(PLACE.PAGE_TABLES, (PLACE.PAGE_TABLES + 0x1000) | table, true);
  ram.setUint32(PLACE.PAGE_TABLES + 0x1000, (PLACE.PAGE_TABLES + 0x2000) | table, true);
  ram.setUint32(PLACE.PAGE_TABLES + 0x2000, table | LARGE, true);
}

function initialState(ring3: boolean): VcpuState {
  const state = resetState();
  state.gdtr = { base: BigInt(PLACE.GDT), limit: 0x7f };
  state.idtr = { base: BigInt(PLACE.IDT), limit: 4 * 16 - 1 };
  for (const name of ['ds', 'es', 'fs', 'gs'] as const) state.segments[name] = ring3 ? USER_DATA : KERNEL_DATA;
  state.segments.ss = ring3 ? USER_DATA : KERNEL_DATA;
  state.segments.cs = ring3 ? USER_CODE : KERNEL_CODE;
  state.segments.ldtr = { selector: 0, base: 0n, limit: 0, attributes: A.UNUSABLE };
  state.segments.tr = { selector: 0x40, base: BigInt(PLACE.DATA + 0x1000), limit: 0x67, attributes: A.P | 0xb };
  state.cr0 = BigInt((CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.PG) >>> 0);
  state.cr3 = BigInt(PLACE.PAGE_TABLES);
  state.cr4 = BigInt(CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT);
  state.efer = BigInt(EFER.SCE | EFER.LME | EFER.LMA);
  state.msrs.set(MSR.IA32_STAR, 0x001b_0008_0000_0000n);
  state.msrs.set(MSR.IA32_LSTAR, BigInt(PLACE.SYSCALL_ENTRY));
  state.rip = BigInt(ring3 ? PLACE.USER_CODE : PLACE.CODE);
  state.gpr[4] = BigInt(PLACE.STACK);
  state.gpr[6] = BigInt(PLACE.DATA);
  return state;
}
