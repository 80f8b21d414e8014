import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { dirtyPages } from '../../src/engine/dirty-log.ts';
import { examineKvm } from '../../src/engine/kvm/kvm-report.ts';
import { bitmapOfCase, DIRTY_CASES, notesReads, runRandomStores, TurnHost, testDirtyLog } from './dirty-log-suite.ts';
import { Guest, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { createKvmTestVcpu } from './kvm-vcpu-factory.ts';
import { createTestVcpu } from './vcpu-factory.ts';

const SEED = process.env.BULKHEAD_SEED ?? `${Date.now()}`;
const PROGRAMS = 20;
const WAYS = {
  'that interprets': { translateAfterSamples: Number.POSITIVE_INFINITY },
  'that translates everything': { translateAfterSamples: 0 },
} as const;

for (const [way, options] of Object.entries(WAYS)) {
  describe(`the dirty log of a software engine ${way}`, () => {
    const host = new TurnHost();
    testDirtyLog({
      host,
      target: createTestVcpu(host, RAM_BYTES, options),
      exact: true,
      seed: SEED,
      programs: PROGRAMS,
    });
  });

  test(`a dirty log may be taken at any poll of an engine ${way}`, () => {
    class PollingHost extends IdleHost {
      readonly taken: number[][] = [];
      looksAt: (() => Uint8Array) | undefined;

      override poll(): boolean {
        if (this.looksAt !== undefined) this.taken.push([...dirtyPages(this.looksAt())]);
        return super.poll();
      }
    }
    const host = new PollingHost();
    const target = createTestVcpu(host, RAM_BYTES, { ...options, pollInterval: 1 });
    // turn: inc dword [rdi]; mov [rdi + 0x1000], eax; push rax; pop rax; dec ecx; jnz turn; hlt
    const code = Buffer.from('ff078987001000005058ffc975f2f4', 'hex');
    const guest = new Guest(target, host, 'kernel64', code);
    guest.setRegister('rdi', BigInt(PLACE.KERNEL_DATA));
    guest.setRegister('rcx', 200n);
    guest.start();
    // The tables' accessed and dirty bits are set by a first run.
    assert.equal(guest.run().kind, 'halted-forever');
    target.vcpu.setState(guest.state);
    const { dirtyLog } = target.vcpu;
    dirtyLog.start();
    host.looksAt = () => dirtyLog.take();
    assert.equal(guest.run().kind, 'halted-forever');
    const data = PLACE.KERNEL_DATA >> 12;
    const pages = [data, data + 1, (PLACE.KERNEL_STACK - 1) >> 12];
    const full = host.taken.filter((taken) => taken.length > 0);
    assert.ok(full.length > 20, `${full.length} polls found stores`);
    for (const taken of full) assert.deepEqual(taken, pages);
    dirtyLog.stop();
  });
}

const { opens, reason } = await examineKvm();

describe('the dirty log of KVM', { skip: opens ? false : reason }, () => {
  if (!opens) return;
  const host = new TurnHost();
  const target = createKvmTestVcpu(host, RAM_BYTES);
  after(() => target.close());
  const exact = !notesReads(target, host);
  testDirtyLog({ host, target, exact, seed: SEED, programs: PROGRAMS });
  const skip = exact ? false : "this host's KVM notes pages that were read only";

  test(`is the software engine's, bit by bit (seed ${SEED})`, { skip }, () => {
    const software = createTestVcpu(host, RAM_BYTES);
    for (const one of DIRTY_CASES) {
      assert.deepEqual(bitmapOfCase(target, host, one), bitmapOfCase(software, host, one), one.name);
    }
    const [here, there] = [target, software].map((engine) =>
      runRandomStores({ host, target: engine, exact }, SEED, PROGRAMS),
    );
    assert.deepEqual(here, there);
  });
});
