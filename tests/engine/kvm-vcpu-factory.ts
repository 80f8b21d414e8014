// The KVM engine as the shared tests run it: interrupt controllers are the test's own.

import { KvmVm } from '../../src/engine/kvm/kvm-system.ts';
import { KvmVcpu } from '../../src/engine/kvm/vcpu.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import type { VcpuHost } from '../../src/engine/vcpu.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import type { TestVcpu } from './vcpu-factory.ts';

export interface KvmTestVcpu extends TestVcpu {
  readonly vm: KvmVm;
  readonly vcpu: KvmVcpu;
  close(): void;
}

/** A processor after RESET with `ramBytes` of zeroed RAM, or on RAM that is there. */
export function createKvmTestVcpu(
  host: VcpuHost,
  ramBytes: number,
  memory: WebAssembly.Memory = createGuestMemory(ramBytes),
): KvmTestVcpu {
  const vm = KvmVm.create({ memory, ramBytes, chips: 'host' });
  // Features that an incomplete KVM does not list are there for many instructions all the same.
  const vcpu = new KvmVcpu({ vm, host, model: 'portable', apicBusHz: 1_000_000_000, tellMissingFeatures: true });
  const close = (): void => {
    vcpu.close();
    vm.close();
  };
  return { vm, vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, ramBytes), close };
}
