// The engine that the shared tests run on.

import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { SoftwareVcpu, type SoftwareVcpuOptions } from '../../src/engine/software/vcpu.ts';
import type { Vcpu, VcpuHost } from '../../src/engine/vcpu.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';

export interface TestVcpu {
  readonly vcpu: Vcpu;
  readonly memory: GuestMemory;
}

/** A processor after RESET with `ramBytes` of zeroed RAM. */
export function createTestVcpu(
  host: VcpuHost,
  ramBytes: number,
  options: Partial<SoftwareVcpuOptions> = {},
): TestVcpu & { readonly vcpu: SoftwareVcpu } {
  const memory = createGuestMemory(ramBytes);
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
  const vcpu = new SoftwareVcpu({
    memory,
    ramBytes,
    host,
    cpuid,
    ...(process.env.BULKHEAD_TRANSLATE === 'first' ? { translateAfterSamples: 0, translateSteps: true } : {}),
    ...options,
  });
  return { vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, ramBytes) };
}
