// VMs made and ended in one process leave its descriptors, threads and mappings as they were: a thousand of KVM's, and
// some whole machines, each with its thread.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { KvmVm } from '../../src/engine/kvm/kvm-system.ts';
import { KvmVcpu } from '../../src/engine/kvm/vcpu.ts';
import { createGuestMemory } from '../../src/engine/software/layout.ts';
import { resetState } from '../../src/engine/vcpu-state.ts';
import { startNodeThread } from '../../src/vm/node-thread.ts';
import { VirtualMachine } from '../../src/vm/virtual-machine.ts';
import { IdleHost } from '../engine/idle-host.ts';
import { buildKernel, COM1, DEBUG_EXIT_PORT, debugExit, outByte, SPIN, UD2 } from '../guests/tiny-kernel.ts';
import { withoutKvm } from '../kvm/kvm-host.ts';

const VMS = 1000;
const WARM_UP_VMS = 20;
const MACHINES = 40;
const WARM_UP_MACHINES = 6;
/** koffi 3.3.4 does not give back what it maps for a thread's calls: a stack, the page that guards it, and a heap. */
const KOFFI_MAPPINGS_PER_THREAD = 3;
const RAM_BYTES = 64 * 1024;
/** Mappings that V8 makes and drops for its own heap. */
const HEAP_MAPPINGS = 64;

setFlagsFromString('--expose-gc');
// The test runner's flags are the process's alone, and workers refuse them.
process.execArgv = [];
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
    checkHeld(before, count(), 0);
  });

  test(`is after ${MACHINES} whole machines and their threads as before, but for what koffi keeps`, async () => {
    for (let turn = 0; turn < WARM_UP_MACHINES; turn++) await runMachine(turn);
    collectGarbage();
    const before = count();
    for (let turn = 0; turn < MACHINES; turn++) await runMachine(turn);
    collectGarbage();
    checkHeld(before, count(), MACHINES * KOFFI_MAPPINGS_PER_THREAD);
  });
});

function checkHeld(before: Held, after: Held, knownMappings: number): void {
  const { mappings, ...exact } = after;
  const { mappings: mappingsBefore, ...exactBefore } = before;
  assert.deepEqual(exact, exactBefore);
  const limit = mappingsBefore + knownMappings + HEAP_MAPPINGS;
  assert.ok(mappings < limit, `${mappingsBefore} mappings before, ${mappings} after`);
}

/** Each prints a letter, and ends by itself, by a triple fault, or when it is told to stop. */
const ENDS = [
  { kind: 'debug-exit', kernel: buildKernel([...outByte(COM1, 0x61), ...debugExit(3)]) },
  { kind: 'triple-fault', kernel: buildKernel([...outByte(COM1, 0x62), ...UD2]) },
  { kind: 'stopped', kernel: buildKernel([...outByte(COM1, 0x63), ...SPIN]) },
] as const;

/** Settles when the machine's thread is gone. */
async function runMachine(turn: number): Promise<void> {
  const { kind, kernel } = ENDS[turn % ENDS.length]!;
  const gone = Promise.withResolvers<void>();
  let printed = 0;
  const machine: VirtualMachine = new VirtualMachine(
    [
      (bytes) => {
        printed += bytes.length;
        if (kind === 'stopped') machine.stop();
        return undefined;
      },
    ],
    (channel, events) =>
      startNodeThread(channel, {
        onMessage: (message) => events.onMessage(message),
        onCrash: (error) => {
          events.onCrash(error);
          gone.resolve();
        },
      }),
  );
  const config = {
    memoryBytes: 64 * 1024 ** 2,
    kernel,
    kernelName: kind,
    initrds: [],
    commandLine: '',
    serialPorts: 1,
    reboot: false,
    debugExitPort: DEBUG_EXIT_PORT,
  };
  machine.start(config, { name: 'kvm', cpuModel: 'host' });
  assert.equal((await machine.ended).kind, kind);
  assert.equal(printed, 1);
  await gone.promise;
}
