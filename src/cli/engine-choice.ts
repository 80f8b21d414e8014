// `--engine` and `--cpu`: what the guest's code is to run on, and why.

import { EXIT_STATUS, UserError } from '../base/errors.ts';
import { CPU_MODELS, type CpuModelName } from '../engine/kvm/cpu-model.ts';
import type { KvmReport } from '../engine/kvm/kvm-check.ts';
import { examineKvm } from '../engine/kvm/kvm-report.ts';
import type { EngineChoice } from '../vm/messages.ts';

export const ENGINES = ['auto', 'kvm', 'software'] as const;
export type EngineFlag = (typeof ENGINES)[number];
export { CPU_MODELS };

export interface EngineDecision {
  readonly choice: EngineChoice;
  /** One line: why the software engine was taken where one might have hoped for KVM. */
  readonly remark?: string;
}

/** As people read it. */
export function describeEngine(choice: EngineChoice): string {
  return choice.name === 'kvm' ? 'KVM' : 'software engine';
}

/** Throws UserError where --engine kvm cannot be had, or the model does not go with the engine. */
export async function decideEngine(
  engine: EngineFlag,
  cpu: CpuModelName | undefined,
  examine: () => Promise<KvmReport> = examineKvm,
): Promise<EngineDecision> {
  if (engine === 'software') return softwareDecision(cpu);
  const report = await examine();
  // `host` has the mitigations that this processor needs; `portable` says that it needs none.
  const choice: EngineChoice = { name: 'kvm', cpuModel: cpu ?? 'host' };
  if (report.usable) return { choice };
  if (engine === 'auto') return softwareDecision(cpu, `not on KVM: ${report.reason}`);
  const last = report.checks.at(-1);
  // Small guests may well run where a stock kernel does not.
  if (report.opens) return { choice, remark: report.reason };
  throw new UserError(`KVM cannot be used: ${report.reason}`, {
    hint: `${last?.remedy ?? 'see bulkhead doctor'}; or use --engine software`,
    exitStatus: EXIT_STATUS.unavailable,
  });
}

function softwareDecision(cpu: CpuModelName | undefined, remark?: string): EngineDecision {
  if (cpu === 'host') {
    throw new UserError(`the CPU model host needs KVM${remark === undefined ? '' : `, and this is ${remark}`}`, {
      hint: 'leave --cpu out, or give --cpu portable',
      exitStatus: EXIT_STATUS.usage,
    });
  }
  return { choice: { name: 'software' }, ...(remark !== undefined && { remark }) };
}
