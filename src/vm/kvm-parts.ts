// A machine's parts on KVM: the VM with its processor, and the kernel's side of the chips. Node alone.

import type { CpuModelName } from '../engine/kvm/cpu-model.ts';
import { KvmVm } from '../engine/kvm/kvm-system.ts';
import type { KickTarget } from '../engine/kvm/libc.ts';
import { KvmVcpu } from '../engine/kvm/vcpu.ts';
import type { SoftwareVcpuOptions } from '../engine/software/vcpu.ts';
import type { Vcpu } from '../engine/vcpu.ts';
import { KernelChips, type KernelChipsState } from '../machine/kvm/kernel-chips.ts';
import type { KernelSide, MachineParts } from '../machine/machine.ts';
import { GuestMemory } from '../memory/guest-memory.ts';

/** One machine's parts; to be used once, on the thread that runs it. Every call may throw a KvmError. */
export class KvmParts implements MachineParts {
  private readonly model: CpuModelName;
  private readonly onKickTarget: (target: KickTarget) => void;
  private vm: KvmVm | undefined;
  private vcpu: KvmVcpu | undefined;
  private chips: KernelChips | undefined;

  /** `onKickTarget` is told how other threads take the processor out of its guest, when it is made. */
  constructor(model: CpuModelName, onKickTarget: (target: KickTarget) => void) {
    this.model = model;
    this.onKickTarget = onKickTarget;
  }

  createMemory(memory: WebAssembly.Memory, hostOffset: number, sizeBytes: number): GuestMemory {
    return new GuestMemory(memory, hostOffset, sizeBytes);
  }

  createKernelSide(memory: WebAssembly.Memory, memoryBytes: number): KernelSide {
    const vm = KvmVm.create({ memory, ramBytes: memoryBytes, chips: 'kernel' });
    this.vm = vm;
    return {
      setInterruptLine: (gsi, asserted) => vm.setInterruptLine(gsi, asserted),
      save: () => this.made.save(),
      restore: (state: KernelChipsState) => this.made.restore(state),
    };
  }

  createVcpu({ host, cpuid }: SoftwareVcpuOptions): Vcpu {
    const { vm } = this;
    if (vm === undefined) throw new Error('createVcpu comes after createKernelSide');
    const vcpu = new KvmVcpu({ vm, host, model: this.model, apicBusHz: cpuid.apicBusHz });
    this.vcpu = vcpu;
    this.onKickTarget(vcpu.kickTarget);
    this.chips = new KernelChips(vm, [vcpu], () => process.hrtime.bigint());
    return vcpu;
  }

  private get made(): KernelChips {
    if (this.chips === undefined) throw new Error('the processor is made first');
    return this.chips;
  }

  /** Gives everything back, also where the machine was not made in the end. */
  close(): void {
    this.vcpu?.close();
    this.vm?.close();
  }
}
