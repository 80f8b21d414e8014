// Where a KVM without the processor's support (SVM, VMX) departs from a processor: it runs ring 0 in an emulator. Each
// departure is found by a look at this host, and names the cases of the suite that it spoils.

import { findMissingInstructions } from '../../src/engine/kvm/examination.ts';
import { CR4 } from '../../src/isa/control-registers.ts';
import { Guest, type GuestMode, PLACE, RAM_BYTES, USER } from './guest.ts';
import type { IdleHost } from './idle-host.ts';
import { createKvmTestVcpu, type KvmTestVcpu } from './kvm-vcpu-factory.ts';

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

const DEPARTURES: readonly Departure[] = [
  {
    what: 'emulates ring 0, and its emulator lacks instructions, checks or exact times of events',
    isHere: () => findMissingInstructions().length > 0,
    cases: [
      'a read-only PML4 entry covers the pages below it faults',
      'a 1 GiB page maps its 1 GiB',
      'a page that becomes present needs no invalidation',
      'INVPCID of all contexts drops global translations too',
      'INVPCID of an unknown type raises #GP(0)',
      'INVPCID with a reserved descriptor bit raises #GP(0)',
      'a push below a limited stack raises #SS(0)',
      'a 64-bit jump to a task-state segment raises #GP',
      'a jump to a gate that is not there raises #GP',
      'invpcid rax, [rax] at CPL 3 raises #GP(0)',
      'an upper half in CR0 is refused',
      'an unknown bit in CR4 is refused',
      'XGETBV without CR4.OSXSAVE is refused',
      'WRFSBASE without CR4.FSGSBASE is refused',
      'LTR refuses a selector into the LDT',
      'CLAC and STAC change AC at CPL 0',
      'a trap gate leaves IF set',
      'an exception whose gate is not present raises #NP with EXT',
      'an exception whose gate is of a wrong type raises #GP with EXT',
      'an exception whose gate names no segment raises #GP with EXT alone',
      'an exception whose gate names a data segment raises #GP with the selector',
      'an exception whose gate names 32-bit code raises #GP in long mode',
      'a page fault while a page fault is delivered becomes #DF(0)',
      'a page fault while a benign exception is delivered is delivered itself',
      'IRET to CPL 3 loads CS, RIP, RFLAGS, SS and RSP and drops kernel data segments',
      'IRET to compatibility code',
      'IRET within CPL 0 accepts a null SS',
      'IRET to a data segment raises #GP(32)',
      'a far return to CPL 3 loads SS and RSP',
      'STI lets one more instruction run before an interrupt',
      'an interrupt shadow in the state holds for one instruction',
      'POPF that sets IF lets an interrupt in at once',
      'IRET ends the blocking of NMIs',
      'an interrupt whose gate is not present raises #NP with EXT',
      'a load of SS holds the single-step trap back for one instruction',
      'a repeated string instruction under TF traps after each turn',
      'INT1 is delivered as #DB and leaves DR6 alone',
      'RDFSBASE reads what WRMSR of the FS base wrote',
      'an SSE instruction with TS raises #NM',
      'an x87 instruction with TS raises #NM',
      'an MMX instruction with TS raises #NM',
      'WAIT with TS and MP raises #NM',
      'an SSE instruction with EM raises #UD',
      'an x87 instruction with EM raises #NM',
      'an MMX instruction with EM raises #UD',
      'WAIT with EM alone runs',
      'WAIT with TS and without MP runs',
      'CLTS lets x87 instructions run again',
      'an SSE instruction without CR4.OSFXSR raises #UD',
      'an unmasked SSE exception raises #XM',
      'an unmasked SSE exception without CR4.OSXMMEXCPT raises #UD',
      'an unmasked x87 exception raises #MF at the next waiting instruction',
      'LDMXCSR of a reserved bit raises #GP(0)',
      'FXSAVE to an unaligned area raises #GP(0)',
      'XSAVE to an area that is not aligned to 64 bytes raises #GP(0)',
      'XSAVE without CR4.OSXSAVE raises #UD',
      'XRSTOR of a component that XCR0 lacks raises #GP(0)',
      'XRSTOR of a header with reserved bytes raises #GP(0)',
      'XRSTOR puts components that the header leaves out into their initial state',
    ],
  },
  {
    what: 'gives the debug exception of a single step in ring 3 to the guest',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'user64', '90 90');
      guest.start();
      return guest.vcpu.step().kind !== 'retired' || guest.vcpu.getState().rip !== BigInt(USER.CODE + 1);
    },
    cases: [
      'a user fetch from a missing page faults',
      'a user read of a read-only page succeeds',
      'a user fetch from an NX page faults',
      'a read of an NX page succeeds',
      'a fetch fault without NXE and SMEP does not say that it was a fetch faults',
      'a no-execute page-directory-pointer entry covers the pages below it faults',
      'a user read of a user page with SMAP succeeds',
      'an instruction that continues in an NX page faults, with the cached page before it',
      'an instruction that ends with its page does not touch the next page',
      'an instruction that spans two pages runs from both',
      'a string instruction stops at a page fault with its registers where it stopped, and goes on after it',
      'POPF at CPL 3 leaves IF and IOPL as they are',
      'RDTSC at CPL 3 with TSD raises #GP(0)',
    ],
  },
  {
    what: 'does not let ring 3 through gates',
    isHere: (target, host) => {
      const guest = prepare(target, host, 'user64', 'cd 80');
      guest.start();
      guest.run();
      return guest.vcpu.getState().rip !== BigInt(PLACE.HANDLERS + 0x80 * 16 + 1);
    },
    cases: [
      'IOPL 3 opens ports and CLI to CPL 3',
      'INT n through a gate of DPL 3 is delivered at CPL 3',
      'INT n through a gate of DPL 0 raises #GP at CPL 3',
      'INT n in compatibility mode reaches the 64-bit handler',
      'INT n beyond the IDT raises #GP',
      'a call gate takes CPL 3 to CPL 0 on RSP0',
      'a call gate of DPL 0 refuses CPL 3',
      'a call gate that is not present raises #NP',
      'a jump through a call gate cannot raise privilege',
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
