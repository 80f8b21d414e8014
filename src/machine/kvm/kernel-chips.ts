// The interrupt controllers, PIT and paravirtual clock of a VM whose kernel side has them: their states out of KVM and
// into it, in the same form as the board's own devices save theirs.

import { InterruptLine } from '../../bus/interrupt-line.ts';
import { PortBus } from '../../bus/port-bus.ts';
import type { BoardState } from '../../devices/board.ts';
import { KVM_CLOCK_STATE_VERSION, type KvmClockState } from '../../devices/chips/kvm-clock/state.ts';
import type { LocalApicState } from '../../devices/chips/local-apic/state.ts';
import { Pic } from '../../devices/chips/pic/pic.ts';
import type { PicState } from '../../devices/chips/pic/state.ts';
import type { PitState } from '../../devices/chips/pit/state.ts';
import * as ioctls from '../../engine/kvm/ioctls.ts';
import type { KvmVm } from '../../engine/kvm/kvm-system.ts';
import { StructBuffer } from '../../engine/kvm/struct-layout.ts';
import * as structs from '../../engine/kvm/structs.ts';
import type { KvmVcpu } from '../../engine/kvm/vcpu.ts';
import { MSR } from '../../isa/msrs.ts';
import * as chips from './interrupt-chip-states.ts';
import { pitBuffer, readPit } from './pit-state.ts';

/** The states of the chips that the kernel has, as the board's and the PIT's devices save theirs. */
export interface KernelChipsState extends Pick<BoardState, 'localApics' | 'kvmClocks' | 'ioApic' | 'pic'> {
  pit: PitState;
}

/** Calls come while no processor of the VM is in run(). A failure is a KvmError. */
export class KernelChips {
  private readonly vm: KvmVm;
  /** By APIC identity. */
  private readonly vcpus: readonly KvmVcpu[];
  /** The host's CLOCK_MONOTONIC. */
  private readonly monotonicNs: () => bigint;

  constructor(vm: KvmVm, vcpus: readonly KvmVcpu[], monotonicNs: () => bigint) {
    this.vm = vm;
    this.vcpus = vcpus;
    this.monotonicNs = monotonicNs;
  }

  /** The processors' own states must have been exported before: KVM_KVMCLOCK_CTRL and the like change nothing here. */
  save(): KernelChipsState {
    const pic = this.savePic();
    const lint0 = isInterruptRequested(pic);
    return {
      localApics: this.vcpus.map((vcpu) => this.saveLocalApic(vcpu, lint0)),
      kvmClocks: this.vcpus.map((vcpu) => this.saveClock(vcpu)),
      ioApic: chips.readIoApic(this.getChip(ioctls.KVM_IRQCHIP.IOAPIC)),
      pic,
      pit: this.savePit(),
    };
  }

  /**
   * The processors' own states have been set before: with them KVM sets the task priority to CR8 alone, and forgets an
   * NMI that waits in a local APIC.
   */
  restore(state: KernelChipsState): void {
    const [master, slave] = state.pic.chips;
    this.setChip(ioctls.KVM_IRQCHIP.PIC_MASTER, chips.picBuffer(master, true));
    this.setChip(ioctls.KVM_IRQCHIP.PIC_SLAVE, chips.picBuffer(slave, false));
    this.vm.exchange(ioctls.KVM_SET_PIT2, pitBuffer(state.pit));
    for (const [index, vcpu] of this.vcpus.entries()) this.restoreLocalApic(vcpu, state.localApics[index]!);
    // Last: it sends what its level-triggered pins ask for.
    this.setChip(ioctls.KVM_IRQCHIP.IOAPIC, chips.ioApicBuffer(state.ioApic));
    this.restoreClocks(state.kvmClocks);
  }

  private getChip(chip: number): StructBuffer {
    const buffer = new StructBuffer(structs.kvm_irqchip);
    buffer.set('chip_id', chip);
    this.vm.exchange(ioctls.KVM_GET_IRQCHIP, buffer);
    const layout = chip === ioctls.KVM_IRQCHIP.IOAPIC ? structs.kvm_ioapic_state : structs.kvm_pic_state;
    return new StructBuffer(layout, buffer.slice('chip'));
  }

  private setChip(chip: number, state: StructBuffer): void {
    const buffer = new StructBuffer(structs.kvm_irqchip);
    buffer.set('chip_id', chip);
    buffer.slice('chip').set(state.bytes);
    this.vm.exchange(ioctls.KVM_SET_IRQCHIP, buffer);
  }

  private savePic(): PicState {
    return chips.picPair(
      chips.readPic(this.getChip(ioctls.KVM_IRQCHIP.PIC_MASTER)),
      chips.readPic(this.getChip(ioctls.KVM_IRQCHIP.PIC_SLAVE)),
    );
  }

  private savePit(): PitState {
    const buffer = new StructBuffer(structs.kvm_pit_state2);
    this.vm.exchange(ioctls.KVM_GET_PIT2, buffer);
    return readPit(buffer, this.monotonicNs());
  }

  private saveLocalApic(vcpu: KvmVcpu, lint0: boolean): LocalApicState {
    const page = new StructBuffer(structs.kvm_lapic_state);
    vcpu.exchange(ioctls.KVM_GET_LAPIC, page);
    const msrs = vcpu.getMsrs([MSR.IA32_APIC_BASE, MSR.IA32_TSC_DEADLINE]);
    return chips.readLocalApic(page, {
      apicBase: Number(msrs.get(MSR.IA32_APIC_BASE)),
      tscDeadline: msrs.get(MSR.IA32_TSC_DEADLINE)!,
      // It is a processor's event in KVM, and exported as such.
      nmiPending: false,
      lint0,
    });
  }

  private restoreLocalApic(vcpu: KvmVcpu, state: LocalApicState): void {
    vcpu.setMsrs(new Map([[MSR.IA32_APIC_BASE, BigInt(state.registers.apicBase)]]));
    const page = new StructBuffer(structs.kvm_lapic_state);
    vcpu.exchange(ioctls.KVM_GET_LAPIC, page);
    chips.writeLocalApic(page, state);
    vcpu.exchange(ioctls.KVM_SET_LAPIC, page);
    vcpu.setMsrs(new Map([[MSR.IA32_TSC_DEADLINE, BigInt(`0x${state.tscDeadline}`)]]));
    if (state.registers.nmiPending) vcpu.requestNmi();
  }

  private saveClock(vcpu: KvmVcpu): KvmClockState {
    const clock = new StructBuffer(structs.kvm_clock_data);
    this.vm.exchange(ioctls.KVM_GET_CLOCK, clock);
    const msrs = vcpu.getMsrs([MSR.KVM_WALL_CLOCK_NEW, MSR.KVM_SYSTEM_TIME_NEW]);
    return {
      version: KVM_CLOCK_STATE_VERSION,
      wallClock: msrs.get(MSR.KVM_WALL_CLOCK_NEW)!.toString(16),
      systemTime: msrs.get(MSR.KVM_SYSTEM_TIME_NEW)!.toString(16),
      systemTimeNs: Number(clock.get64('clock')),
    };
  }

  private restoreClocks(states: readonly KvmClockState[]): void {
    const clock = new StructBuffer(structs.kvm_clock_data);
    clock.set64('clock', BigInt(Math.floor(states[0]!.systemTimeNs)));
    this.vm.exchange(ioctls.KVM_SET_CLOCK, clock);
    for (const [index, vcpu] of this.vcpus.entries()) {
      const { wallClock, systemTime } = states[index]!;
      // The wall clock's structure holds the time at system time 0: it stays right, and is written only if it is there.
      const values = new Map([[MSR.KVM_SYSTEM_TIME_NEW as number, BigInt(`0x${systemTime}`)]]);
      if (wallClock !== '0') values.set(MSR.KVM_WALL_CLOCK_NEW, BigInt(`0x${wallClock}`));
      vcpu.setMsrs(values);
    }
  }
}

/** Whether a pair in this state asks for an interrupt: its INTR output. */
function isInterruptRequested(state: PicState): boolean {
  const output = new InterruptLine(() => {});
  new Pic(new PortBus(), output).restore(state);
  return output.level;
}
