// Where a KVM without the processor's support (SVM, VMX) departs from a processor: it runs ring 0 in an emulator. Each
// departure is looked for on this host by a guest of its own, and names the cases of the suite that it spoils.

import type { VcpuExit } from '../../src/engine/vcpu.ts';
import { CR4 } from '../../src/isa/control-registers.ts';
import { VECTOR } from '../../src/isa/vectors.ts';
import { gateDescriptor } from './descriptors.ts';
import {
  CALL_GATE_SELECTOR,
  FREE_SELECTOR,
  Guest,
  type GuestMode,
  PLACE,
  RAM_BYTES,
  SEGMENT,
  TSS_SELECTOR,
  USER,
  userPhysical,
} from './guest.ts';
import type { IdleHost } from './idle-host.ts';
import { createKvmTestVcpu, type KvmTestVcpu } from './kvm-vcpu-factory.ts';
import { PTE } from './page-tables.ts';

interface Departure {
  /** Completes "this host's KVM …". */
  readonly what: string;
  /** True where this host's KVM departs. */
  isHere(target: KvmTestVcpu, host: IdleHost): boolean;
  readonly cases: readonly string[];
}

function prepare(target: KvmTestVcpu, host: IdleHost, mode: GuestMode, code: string): Guest {
  return new Guest(target, host, mode, Buffer.from(code.replaceAll(' ', ''), 'hex'));
}

/** Runs to the end, with RAX, RSI and RDI at the kernel's data, and gives the guest. */
function run(target: KvmTestVcpu, host: IdleHost, code: string, setUp: (guest: Guest) => void = () => {}): Ended {
  const guest = prepare(target, host, 'kernel64', code);
  for (const name of ['rax', 'rsi', 'rdi']) guest.setRegister(name, BigInt(PLACE.KERNEL_DATA));
  setUp(guest);
  guest.start();
  return { guest, exit: guest.run() };
}

/** The same in ring 3, whose registers are zeros. */
function runUser(target: KvmTestVcpu, host: IdleHost, code: string, setUp: (guest: Guest) => void = () => {}): Ended {
  const guest = prepare(target, host, 'user64', code);
  setUp(guest);
  guest.start();
  return { guest, exit: guest.run() };
}

interface Ended {
  readonly guest: Guest;
  readonly exit: VcpuExit;
}

/** The vector whose handler has halted; undefined where the guest ended elsewhere. */
function vectorOf({ guest, exit }: Ended): number | undefined {
  const offset = Number(guest.vcpu.getState().rip) - 1 - PLACE.HANDLERS;
  return exit.kind === 'halted-forever' && offset >= 0 && offset < 0x1000 && offset % 16 === 0
    ? offset / 16
    : undefined;
}

/** Quadwords of the stack, from RSP on. */
function stackOf({ guest }: Ended, index: number): bigint {
  return guest.memory.readU64(Number(guest.vcpu.getState().gpr[4]) + 8 * index);
}

type Probe = Departure['isHere'];

/** KVM gives up at the instruction. */
const cannotEmulate =
  (code: string, setUp?: (guest: Guest) => void): Probe =>
  (target, host) => {
    const { exit } = run(target, host, `${code} f4`, setUp);
    return exit.kind === 'internal-error' && exit.message.includes('cannot emulate');
  };

/** The instruction, or the HLT behind it, does not end in the handler of `vector`. */
const doesNotRaise =
  (vector: number, code: string, setUp?: (guest: Guest) => void): Probe =>
  (target, host) =>
    vectorOf(run(target, host, `${code} f4`, setUp)) !== vector;

/** UD2 by a gate with these fields does not raise `vector` instead. */
const gateIsNotChecked = (vector: number, fields: Parameters<Guest['setGate']>[1]): Probe =>
  doesNotRaise(vector, '0f 0b', (guest) => guest.setGate(VECTOR.UD, fields));

const writeStack = (guest: Guest, words: readonly bigint[]): void => {
  const top = PLACE.KERNEL_STACK - 8 * words.length;
  for (const [index, word] of words.entries()) guest.memory.writeU64(top + 8 * index, word);
  guest.setRegister('rsp', BigInt(top));
};

const KERNEL_CS = BigInt(SEGMENT.kernelCode.selector);
const KERNEL_SS = BigInt(SEGMENT.kernelData.selector);
const USER_CS = BigInt(SEGMENT.userCode64.selector);
const USER_SS = BigInt(SEGMENT.userData.selector);
const BEHIND = BigInt(PLACE.KERNEL_CODE + 0x40);
const IF = 0x200n;
const IOPL = 0x3000n;
const TF = 0x100n;
const DEVICE = 0x30;
const IRETQ = '48 cf';

const farJumpTo =
  (selector: number) =>
  (guest: Guest): void =>
    guest.memory.writeU64(PLACE.KERNEL_DATA, BigInt(selector) << 32n);

const DEPARTURES: readonly Departure[] = [
  // Of this engine, on every KVM.
  {
    what: 'hands an exception over by delivering it, and the stack that is to take it is not to be written',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'kernel64', '0f 0b');
      guest.remap(PLACE.KERNEL_STACK - 1, 0n);
      guest.start();
      return guest.vcpu.step().kind === 'exit';
    },
    cases: ['a read-only PML4 entry covers the pages below it faults', 'a push below a limited stack raises #SS(0)'],
  },
  // Instructions of ring 0 that are not there.
  {
    what: 'cannot emulate INVPCID',
    isHere: cannotEmulate('66 0f 38 82 3e', (guest) => guest.setRegister('rdi', 2n)),
    cases: [
      'INVPCID of all contexts drops global translations too',
      'INVPCID of an unknown type raises #GP(0)',
      'INVPCID with a reserved descriptor bit raises #GP(0)',
    ],
  },
  {
    what: 'has no INVPCID in ring 3',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'user64', '66 0f 38 82 00');
      guest.setRegister('rax', BigInt(USER.DATA));
      guest.start();
      return vectorOf({ guest, exit: guest.run() }) === VECTOR.UD;
    },
    cases: ['invpcid rax, [rax] at CPL 3 raises #GP(0)'],
  },
  {
    what: 'cannot emulate a far jump to a task-state segment',
    isHere: cannotEmulate('ff 28', farJumpTo(TSS_SELECTOR)),
    cases: ['a 64-bit jump to a task-state segment raises #GP'],
  },
  {
    what: 'cannot emulate a far jump to a descriptor that is empty',
    isHere: cannotEmulate('ff 28', farJumpTo(FREE_SELECTOR)),
    cases: ['a jump to a gate that is not there raises #GP'],
  },
  {
    what: 'cannot emulate a far return to ring 3',
    isHere: cannotEmulate('48 cb', (guest) =>
      writeStack(guest, [BigInt(USER.CODE), USER_CS, BigInt(USER.STACK), USER_SS]),
    ),
    cases: ['a far return to CPL 3 loads SS and RSP'],
  },
  {
    what: 'cannot emulate XGETBV',
    isHere: cannotEmulate('31 c9 0f 01 d0'),
    cases: ['XGETBV without CR4.OSXSAVE is refused'],
  },
  { what: 'cannot emulate STAC', isHere: cannotEmulate('0f 01 cb'), cases: ['CLAC and STAC change AC at CPL 0'] },
  { what: 'cannot emulate INT3', isHere: cannotEmulate('cc'), cases: ['a trap gate leaves IF set'] },
  { what: 'cannot emulate INT n', isHere: cannotEmulate('cd 80'), cases: ['INT n beyond the IDT raises #GP'] },
  {
    what: 'cannot emulate INT1',
    isHere: cannotEmulate('f1'),
    cases: ['INT1 is delivered as #DB and leaves DR6 alone'],
  },
  {
    what: 'does not refuse WRFSBASE without CR4.FSGSBASE',
    isHere: doesNotRaise(VECTOR.UD, 'f3 48 0f ae d7', (guest) => guest.setControl('cr4', CR4.FSGSBASE, false)),
    cases: ['WRFSBASE without CR4.FSGSBASE is refused'],
  },
  {
    what: 'cannot emulate SSE arithmetic',
    isHere: cannotEmulate('0f 58 c1'),
    cases: [
      'an SSE instruction with TS raises #NM',
      'an SSE instruction with EM raises #UD',
      'an SSE instruction without CR4.OSFXSR raises #UD',
      'an unmasked SSE exception raises #XM',
      'an unmasked SSE exception without CR4.OSXMMEXCPT raises #UD',
    ],
  },
  {
    what: 'cannot emulate x87 arithmetic',
    isHere: cannotEmulate('d9 e8'),
    cases: [
      'an x87 instruction with TS raises #NM',
      'an x87 instruction with EM raises #NM',
      'CLTS lets x87 instructions run again',
      'an unmasked x87 exception raises #MF at the next waiting instruction',
    ],
  },
  {
    what: 'cannot emulate MMX arithmetic',
    isHere: cannotEmulate('0f fc c1'),
    cases: ['an MMX instruction with TS raises #NM', 'an MMX instruction with EM raises #UD'],
  },
  {
    what: 'cannot emulate WAIT',
    isHere: cannotEmulate('9b'),
    cases: ['WAIT with TS and MP raises #NM', 'WAIT with EM alone runs', 'WAIT with TS and without MP runs'],
  },
  {
    what: 'cannot emulate LDMXCSR',
    isHere: cannotEmulate('0f ae 10', (guest) => guest.memory.writeU32(PLACE.KERNEL_DATA, 0x1f80)),
    cases: ['LDMXCSR of a reserved bit raises #GP(0)'],
  },
  {
    what: 'cannot emulate XSAVE',
    isHere: cannotEmulate('0f ae 20'),
    cases: ['XSAVE to an area that is not aligned to 64 bytes raises #GP(0)', 'XSAVE without CR4.OSXSAVE raises #UD'],
  },
  {
    what: 'cannot emulate XRSTOR',
    isHere: cannotEmulate('0f ae 28'),
    cases: [
      'XRSTOR of a component that XCR0 lacks raises #GP(0)',
      'XRSTOR of a header with reserved bytes raises #GP(0)',
      'XRSTOR puts components that the header leaves out into their initial state',
    ],
  },
  // Checks that it does not make.
  {
    what: 'does not check the alignment of FXSAVE in ring 0',
    isHere: doesNotRaise(VECTOR.GP, '0f ae 00', (guest) => guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA + 8))),
    cases: ['FXSAVE to an unaligned area raises #GP(0)'],
  },
  {
    what: 'lets the upper half of CR0 be written',
    isHere: doesNotRaise(VECTOR.GP, '0f 22 c7', (guest) => guest.setRegister('rdi', guest.state.cr0 | (1n << 32n))),
    cases: ['an upper half in CR0 is refused'],
  },
  {
    what: 'lets the upper half of CR4 be written',
    isHere: doesNotRaise(VECTOR.GP, '0f 22 e7', (guest) => guest.setRegister('rdi', guest.state.cr4 | (1n << 40n))),
    cases: ['an unknown bit in CR4 is refused'],
  },
  {
    what: 'gives LTR with a selector into the LDT another error code',
    isHere: (target, host) => {
      const ended = run(target, host, '0f 00 df f4', (guest) => guest.setRegister('rdi', BigInt(FREE_SELECTOR | 4)));
      return vectorOf(ended) !== VECTOR.GP || stackOf(ended, 0) !== BigInt(FREE_SELECTOR | 4);
    },
    cases: ['LTR refuses a selector into the LDT'],
  },
  {
    what: 'raises #DF where the gate of an exception is not present',
    isHere: gateIsNotChecked(VECTOR.NP, { present: false }),
    cases: ['an exception whose gate is not present raises #NP with EXT'],
  },
  {
    what: 'raises #DF where the gate of an exception names no segment',
    isHere: gateIsNotChecked(VECTOR.GP, { selector: 0 }),
    cases: ['an exception whose gate names no segment raises #GP with EXT alone'],
  },
  {
    what: 'does not check the type of a gate',
    isHere: gateIsNotChecked(VECTOR.GP, { type: 5 }),
    cases: ['an exception whose gate is of a wrong type raises #GP with EXT'],
  },
  {
    what: 'does not check the type of the segment that a gate names',
    isHere: gateIsNotChecked(VECTOR.GP, { selector: SEGMENT.kernelData.selector }),
    cases: ['an exception whose gate names a data segment raises #GP with the selector'],
  },
  {
    what: 'does not check that a gate of long mode names 64-bit code',
    isHere: gateIsNotChecked(VECTOR.GP, { selector: SEGMENT.kernelCode32.selector }),
    cases: ['an exception whose gate names 32-bit code raises #GP in long mode'],
  },
  {
    what: 'does not say EXT in the error code of an interrupt without a gate',
    isHere: (target, host) => {
      const ended = run(target, host, '90 f4', (guest) => {
        host.interrupts.push(DEVICE);
        guest.state.rflags |= IF;
        guest.setGate(DEVICE, { present: false });
      });
      return vectorOf(ended) !== VECTOR.NP || (stackOf(ended, 0) & 1n) === 0n;
    },
    cases: ['an interrupt whose gate is not present raises #NP with EXT'],
  },
  {
    what: 'does not check the segment that IRET goes to',
    isHere: doesNotRaise(VECTOR.GP, IRETQ, (guest) => writeStack(guest, [BEHIND, USER_SS, 2n, 0n, USER_SS])),
    cases: ['IRET to a data segment raises #GP(32)'],
  },
  // Pages.
  {
    what: 'has no pages of 1 GiB',
    isHere: (target, host) => {
      const ended = run(target, host, '8b 00 f4', (guest) => {
        guest.tables.map(0x8000_0000n, 0, PTE.W, 3);
        guest.setRegister('rax', 0x8000_0000n);
      });
      return vectorOf(ended) === VECTOR.PF;
    },
    cases: ['a 1 GiB page maps its 1 GiB'],
  },
  {
    what: 'does not put the address of a page fault into CR2 that comes while another is delivered',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'user64', '8b 08');
      guest.setRegister('rax', 0x70_0000n);
      guest.remap(PLACE.RSP0 - 0x1000, 0n);
      guest.setGate(VECTOR.DF, { ist: 1 });
      guest.start();
      guest.run();
      return guest.vcpu.getState().cr2 !== BigInt(PLACE.RSP0 - 8);
    },
    cases: ['a page fault while a page fault is delivered becomes #DF(0)'],
  },
  {
    what: 'shuts the processor down at a page fault while a benign exception is delivered',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'user64', '0f 0b');
      guest.remap(PLACE.RSP0 - 0x1000, 0n);
      guest.setGate(VECTOR.PF, { ist: 1 });
      guest.start();
      return guest.run().kind === 'shutdown';
    },
    cases: ['a page fault while a benign exception is delivered is delivered itself'],
  },
  // Times of events.
  {
    what: 'ends a single step over IRET one instruction late',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'kernel64', IRETQ);
      writeStack(guest, [BEHIND, KERNEL_CS, 2n, BigInt(PLACE.KERNEL_STACK), KERNEL_SS]);
      guest.memory.write(Number(BEHIND), Uint8Array.of(0x90, 0x90, 0x90));
      guest.start();
      guest.vcpu.step();
      return guest.vcpu.getState().rip !== BEHIND;
    },
    cases: [
      'IRET to CPL 3 loads CS, RIP, RFLAGS, SS and RSP and drops kernel data segments',
      'IRET to compatibility code',
      'IRET within CPL 0 accepts a null SS',
    ],
  },
  {
    what: 'ends a single step over RDFSBASE one instruction late',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'kernel64', 'f3 48 0f ae c7 90 90');
      guest.start();
      guest.vcpu.step();
      return guest.vcpu.getState().rip !== BigInt(PLACE.KERNEL_CODE + 5);
    },
    cases: ['RDFSBASE reads what WRMSR of the FS base wrote'],
  },
  {
    what: 'takes an interrupt some instructions after it could',
    isHere: (target, host) => {
      const ended = run(target, host, 'fb 90 90 f4', () => host.interrupts.push(DEVICE));
      return vectorOf(ended) !== DEVICE || stackOf(ended, 0) !== BigInt(PLACE.KERNEL_CODE + 2);
    },
    cases: [
      'STI lets one more instruction run before an interrupt',
      'an interrupt shadow in the state holds for one instruction',
      'POPF that sets IF lets an interrupt in at once',
    ],
  },
  {
    what: 'does not end the blocking of NMIs at IRET',
    isHere: (target, host) => {
      const ended = run(target, host, IRETQ, (guest) => {
        host.nmiPending = true;
        guest.state.events.nmiBlocked = true;
        writeStack(guest, [BEHIND, KERNEL_CS, 2n, BigInt(PLACE.KERNEL_STACK), KERNEL_SS]);
        guest.memory.write(Number(BEHIND), Uint8Array.of(0x90, 0xf4));
      });
      return vectorOf(ended) !== VECTOR.NMI;
    },
    cases: ['IRET ends the blocking of NMIs'],
  },
  {
    what: 'does not hold a single-step trap back behind a load of SS',
    isHere: (target, host) => {
      const ended = run(target, host, '8e d0 90 90 f4', (guest) => {
        guest.setRegister('rax', KERNEL_SS);
        guest.state.rflags |= TF;
      });
      return stackOf(ended, 0) !== BigInt(PLACE.KERNEL_CODE + 3);
    },
    cases: ['a load of SS holds the single-step trap back for one instruction'],
  },
  {
    what: 'does not trap after each turn of a repeated string instruction',
    isHere: (target, host) => {
      const { guest } = run(target, host, 'f3 aa f4', (prepared) => {
        prepared.setRegister('rcx', 3n);
        prepared.state.rflags |= TF;
      });
      return guest.vcpu.getState().gpr[1] !== 2n;
    },
    cases: ['a repeated string instruction under TF traps after each turn'],
  },
  // Ring 3.
  {
    what: 'does not keep IOPL in ring 3',
    isHere: (target, host) => {
      const ended = runUser(target, host, 'f4', ({ state }) => {
        state.rflags |= IOPL;
      });
      // #GP by HLT: error code, RIP, CS, RFLAGS.
      return (stackOf(ended, 3) & IOPL) !== IOPL;
    },
    cases: ['POPF at CPL 3 leaves IF and IOPL as they are', 'IOPL 3 opens ports and CLI to CPL 3'],
  },
  {
    what: 'does not heed CR4.TSD',
    isHere: (target, host) => {
      const ended = runUser(target, host, '0f 31 f4', (guest) => guest.setControl('cr4', CR4.TSD, true));
      return stackOf(ended, 1) !== BigInt(USER.CODE);
    },
    cases: ['RDTSC at CPL 3 with TSD raises #GP(0)'],
  },
  {
    what: 'does not let INT n of ring 3 through a gate',
    isHere: (target, host) => vectorOf(runUser(target, host, 'cd 80')) !== 0x80,
    cases: [
      'INT n through a gate of DPL 3 is delivered at CPL 3',
      'INT n through a gate of DPL 0 raises #GP at CPL 3',
      'INT n in compatibility mode reaches the 64-bit handler',
    ],
  },
  {
    what: 'does not let ring 3 through call gates',
    isHere: (target, host) => {
      const { guest } = runUser(target, host, 'ff 18', (prepared) => {
        const gate = gateDescriptor({ selector: Number(KERNEL_CS), offset: BEHIND, type: 12, dpl: 3 });
        for (const [index, word] of gate.entries()) {
          prepared.memory.writeU64(PLACE.GDT + CALL_GATE_SELECTOR + index * 8, word);
        }
        prepared.memory.writeU8(Number(BEHIND), 0xf4);
        prepared.setRegister('rax', BigInt(USER.DATA));
        prepared.memory.writeU64(userPhysical(USER.DATA), BigInt(CALL_GATE_SELECTOR | 3) << 32n);
      });
      return guest.vcpu.getState().rip !== BEHIND + 1n;
    },
    cases: [
      'a call gate takes CPL 3 to CPL 0 on RSP0',
      'a call gate of DPL 0 refuses CPL 3',
      'a call gate that is not present raises #NP',
      'a jump through a call gate cannot raise privilege',
    ],
  },
  {
    what: 'raises #UD for SYSENTER',
    isHere: (target, host) => vectorOf(runUser(target, host, '0f 34')) === VECTOR.UD,
    cases: [
      'SYSENTER takes CS, RIP and RSP from its MSRs and clears IF',
      'SYSENTER without a code segment raises #GP(0)',
    ],
  },
  {
    what: 'does not take SYSCALL into ring 0',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'user64', '0f 05');
      guest.memory.writeU8(PLACE.KERNEL_CODE + 0x800, 0xf4);
      guest.start();
      guest.run();
      return guest.vcpu.getState().rip !== BigInt(PLACE.KERNEL_CODE + 0x801);
    },
    cases: [
      'SYSCALL saves RIP and RFLAGS, masks flags and enters the kernel',
      'SYSCALL without EFER.SCE raises #UD',
      'SYSRET to 64-bit code',
      'SYSRET to compatibility code',
    ],
  },
  {
    what: 'has no process-context identifiers',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'kernel64', 'f4');
      guest.setControl('cr4', CR4.PCIDE, true);
      try {
        guest.start();
        return false;
      } catch {
        return true;
      }
    },
    cases: [
      'PCIDs keep address spaces apart, and NOFLUSH is accepted',
      'code at one address is that of its address space, however often they take turns',
      'a load of CR3 without NOFLUSH drops the translations of its PCID',
      'INVPCID of an address drops its translation',
    ],
  },
  {
    what: 'has no watchpoints',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'kernel64', '88 00 90 f4'); // mov [rax], al
      guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA));
      guest.state.debug.dr1 = BigInt(PLACE.KERNEL_DATA);
      guest.state.debug.dr7 = 0x404n | (1n << 20n);
      guest.start();
      guest.run();
      return guest.vcpu.getState().rip !== BigInt(PLACE.HANDLERS + 16 + 1);
    },
    cases: [
      'a write watch traps after a write',
      'an access watch traps after a read',
      'a watch catches a byte within it',
      'a watch catches an access that begins before it',
      'a watch catches a push',
    ],
  },
];

/** By a case's name, why this host's KVM cannot pass it. */
export function findDepartures(host: IdleHost): ReadonlyMap<string, string> {
  const here = DEPARTURES.filter((departure) => {
    const target = createKvmTestVcpu(host, RAM_BYTES);
    try {
      return departure.isHere(target, host);
    } finally {
      target.close();
    }
  });
  return new Map(here.flatMap(({ what, cases }) => cases.map((name) => [name, `this host's KVM ${what}`])));
}

/** Every case that is named above. */
export const CASES_WITH_DEPARTURES: readonly string[] = DEPARTURES.flatMap(({ cases }) => cases);
