// A thousand VMs made and ended in one process leave its descriptors, threads and mappings as they were.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { KvmVm } from '../../src/engine/kvm/kvm-system.ts';
import { KvmVcpu } from '../../src/engine/kvm/vcpu.ts';
import { createGuestMemory } from '../../src/engine/software/layout.ts';
import { resetState } from '../../src/engine/vcpu-state.ts';
import { IdleHost } from '../engine/idle-host.ts';
import { withoutKvm } from '../kvm/kvm-host.ts';

const VMS = 1000;
const WARM_UP_VMS = 20;
const RAM_BYTES = 64 * 1024;
/** Mappings that V8 makes and drops for its own heap. */
const HEAP_MAPPINGS = 64;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

interface Held {
  descriptors: number;
  threads: number;
  kvmMappings: number;
  mappings: number;
}

function count(): Held {
  const maps = readFileSync('/proc/self/maps', 'utf8').trim().split('\n');
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    kvmMappings: maps.filter((line) => line.includes('kvm')).length,
    mappings: maps.length,
  };
}

describe('a process', { skip: withoutKvm }, () => {
  test(`is after ${VMS} VMs as it was before`, () => {
    const memory = createGuestMemory(RAM_BYTES);
    const useOne = (turn: number): void => {
      const vm = KvmVm.create({ memory, ramBytes: RAM_BYTES, chips: turn % 2 === 0 ? 'kernel' : 'host' });
      const vcpu = new KvmVcpu({ vm, host: new IdleHost(), model: 'host', apicBusHz: 1e9 });
      // Every tenth runs: HLT in real mode, whose RAM is wrapped zeros otherwise.
      if (turn % 20 === 1) {
        const state = resetState();
        state.segments.cs = { ...state.segments.cs, selector: 0, base: 0n };
        state.rip = 0n;
        new Uint8Array(memory.buffer)[0x1000_0000] = 0xf4;
        vcpu.setState(state);
        assert.equal(vcpu.run().kind, 'halted-forever');
      }
      vcpu.close();
      vm.close();
    };
    for (let turn = 0; turn < WARM_UP_VMS; turn++) useOne(turn);
    collectGarbage();
    const before = count();
    for (let turn = 0; turn < VMS; turn++) useOne(turn);
    collectGarbage();
    const after = count();
    const { mappings, ...exact } = after;
    const { mappings: mappingsBefore, ...exactBefore } = before;
    assert.deepEqual(exact, exactBefore);
    assert.ok(mappings < mappingsBefore + HEAP_MAPPINGS, `${mappingsBefore} mappings before, ${mappings} after`);
  });
});
