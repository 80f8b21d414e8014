import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../base/clock.ts';
import { Timers } from '../base/timers.ts';
import type { AccessSizeBytes } from '../bus/port-bus.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { Board } from './board.ts';
import { createDevices, DEVICE_ROWS, resetDevices, restoreDevices, saveDevices } from './registry.ts';

const EOI = 0xfee000b0;

function makeMachine(processorCount = 1, serialCount = 4) {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const log: string[] = [];
  const memory = new GuestMemory(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }), 0, 0x10000);
  const sink = { onPendingChanged: () => {}, onInit: () => {}, onStartup: () => {} };
  const timeStampCounter = { now: () => BigInt(Math.floor(clock.nowNs())), hz: 1e9 };
  const board = new Board({
    timers,
    wallClock: { nowMs: () => Date.UTC(2026, 0, 1) + clock.nowNs() / 1e6 },
    memory,
    processors: Array.from({ length: processorCount }, () => ({ sink, timeStampCounter })),
    physicalAddressBits: 40,
    events: {
      powerOff: () => log.push('off'),
      requestReset: () => log.push('reset'),
      exit: (status) => log.push(`exit ${status}`),
    },
    serial: Array.from({ length: serialCount }, () => ({ write: () => {} })),
    holdSerialInputUntilReady: false,
    debugExit: { firstPort: 0xf4, sizeBytes: 4 },
  });
  const devices = createDevices(board);
  const { ports, mmio } = board;
  const route = (pin: number, low: number): void => {
    mmio.write(0xfec00000, 4, 0x10 + 2 * pin);
    mmio.write(0xfec00010, 4, low);
  };
  const advance = (deltaNs: number): void => {
    clock.advanceNs(deltaNs);
    timers.runDue();
  };
  return { board, devices, ports, mmio, route, advance, log, apic: board.localApics[0]!, timers };
}

test('each device claims the ports of its row', () => {
  const { ports } = makeMachine();
  for (const [name, row] of Object.entries(DEVICE_ROWS)) {
    for (const [firstPort, count] of row.ports) {
      for (let port = firstPort; port < firstPort + count; port++) {
        const owner = ports.ownerOf(port)?.toLowerCase().replace('-', '');
        assert.equal(owner, name.toLowerCase(), `port 0x${port.toString(16)}`);
      }
    }
  }
});

test('the timer reaches the processor over I/O APIC pin 2', () => {
  const { board, ports, mmio, route, advance, apic } = makeMachine();
  board.setUpAsFirmware();
  route(2, 0x30);
  ports.write(0x43, 1, 0x34);
  ports.write(0x40, 1, 0xa9);
  ports.write(0x40, 1, 0x04);
  for (let tick = 0; tick < 3; tick++) {
    advance(1_000_000);
    assert.equal(apic.pendingVector(), 0x30);
    apic.acknowledge();
    mmio.write(EOI, 4, 0);
  }
});

test('the timer reaches the processor over the 8259A and LINT0 where firmware left it so', () => {
  const { board, ports, advance, apic } = makeMachine();
  board.setUpAsFirmware();
  ports.write(0x43, 1, 0x34);
  ports.write(0x40, 1, 0xa9);
  ports.write(0x40, 1, 0x04);
  advance(1_000_000);
  assert.equal(apic.pendingVector(), -1, 'masked');
  ports.write(0x21, 1, 0xfe);
  assert.equal(apic.pendingVector(), 0x08);
  assert.equal(apic.acknowledge(), 0x08);
  assert.equal(apic.pendingVector(), -1);
});

test('COM1 and COM3 share interrupt 4', () => {
  const { devices, ports, mmio, route, apic } = makeMachine();
  mmio.write(0xfee000f0, 4, 0x1ff);
  route(4, 0x8034);
  ports.write(0x3f9, 1, 1);
  ports.write(0x3e9, 1, 1);
  devices.com1!.receive(Uint8Array.of(1));
  devices.com3!.receive(Uint8Array.of(3));
  assert.equal(apic.acknowledge(), 0x34);
  ports.read(0x3f8, 1);
  mmio.write(EOI, 4, 0);
  assert.equal(apic.acknowledge(), 0x34);
  assert.equal(ports.read(0x3e8, 1), 3);
  mmio.write(EOI, 4, 0);
  assert.equal(apic.pendingVector(), -1);
});

test('the power button reaches the processor as a level on GSI 9', () => {
  const { devices, ports, mmio, route, apic } = makeMachine();
  mmio.write(0xfee000f0, 4, 0x1ff);
  route(9, 0x8039);
  ports.write(0x602, 2, 0x0100);
  devices.acpiPm.pressPowerButton();
  assert.equal(apic.acknowledge(), 0x39);
  ports.write(0x600, 2, 0x0100);
  mmio.write(EOI, 4, 0);
  assert.equal(apic.pendingVector(), -1);
});

test('every way out of the machine is heard', () => {
  const { ports, log } = makeMachine();
  ports.write(0x604, 2, 0x3400);
  ports.write(0xcf9, 1, 6);
  ports.write(0x64, 1, 0xfe);
  ports.write(0x92, 1, 1);
  ports.write(0xf4, 4, 3);
  assert.deepEqual(log, ['off', 'reset', 'reset', 'reset', 'exit 7']);
});

test('an absent serial port reads all ones', () => {
  const { ports, devices } = makeMachine(1, 1);
  assert.equal(devices.com2, undefined);
  assert.equal(ports.read(0x2fd, 1), 0xff);
});

test('MSRs go to the local APIC and the KVM clock of their processor, others are #GP', () => {
  const { board } = makeMachine(2);
  assert.equal(board.readMsr(0, 0x1b), 0xfee00900n);
  assert.equal(board.readMsr(1, 0x1b), 0xfee00800n);
  assert.equal(board.writeMsr(1, 0x4b564d01, 0x1001n), true);
  assert.equal(board.readMsr(1, 0x4b564d01), 0x1001n);
  assert.equal(board.readMsr(0, 0x4b564d01), 0n);
  assert.equal(board.readMsr(0, 0x10), undefined);
  assert.equal(board.writeMsr(0, 0x10, 0n), false);
});

test('the local APIC page is that of the processor that runs', () => {
  const { board, mmio } = makeMachine(2);
  board.currentProcessor = 1;
  assert.equal(mmio.read(0xfee00020, 4), 0x01000000);
});

/** xorshift32: the same accesses on every run. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function torture(machine: ReturnType<typeof makeMachine>, seed: number, steps: number): void {
  const random = makeRandom(seed);
  const firstPorts = Object.values(DEVICE_ROWS).flatMap((row) => row.ports.map(([firstPort]) => firstPort));
  const bases = [...firstPorts, 0x20, 0xa0, 0x4d0, 0xcf8, 0xcfc, 0xf4];
  const msrs = [0x1b, 0x6e0, 0x4b564d00, 0x4b564d01, 0x800];
  for (let step = 0; step < steps; step++) {
    const sizeBytes = ([1, 2, 4] as const)[random(3)] as AccessSizeBytes;
    const value = random(2) === 0 ? random(256) : random(2 ** 32);
    const port = bases[random(bases.length)]! + random(8);
    const guestPhysical = (random(2) === 0 ? 0xfec00000 : 0xfee00000) + random(0x400);
    const msr = msrs[random(msrs.length)]! + random(0x40);
    switch (random(8)) {
      case 0:
        machine.ports.read(port, sizeBytes);
        break;
      case 1:
      case 2:
        machine.ports.write(port, sizeBytes, value);
        break;
      case 3:
        machine.mmio.read(guestPhysical, sizeBytes);
        break;
      case 4:
        machine.mmio.write(guestPhysical, sizeBytes, value);
        break;
      case 5:
        if (random(2) === 0) machine.board.readMsr(0, msr);
        else machine.board.writeMsr(0, msr, (BigInt(random(2 ** 32)) << BigInt(random(33))) | BigInt(value));
        break;
      case 6:
        if (machine.apic.pendingVector() >= 0) machine.apic.acknowledge();
        machine.devices.com1?.receive(Uint8Array.of(value & 0xff));
        break;
      default:
        machine.advance(random(3) === 0 ? random(2_000_000_000) : random(100_000));
    }
    if (step % 50 === 0) machine.board.setUpAsFirmware();
  }
}

test('wild accesses never throw', () => {
  for (const seed of [0x1badcafe, 0x2badcafe, 0x3badcafe]) {
    const machine = makeMachine(2);
    try {
      torture(machine, seed, 20_000);
    } catch (error) {
      throw new Error(`seed 0x${seed.toString(16)}`, { cause: error });
    }
  }
});

test('a machine restored from JSON saves the same state again, after any history', () => {
  for (const seed of [0x11, 0x22, 0x33, 0x44]) {
    const machine = makeMachine(2);
    torture(machine, seed, 3000);
    const state = JSON.parse(JSON.stringify(saveDevices(machine.board, machine.devices)));
    const fresh = makeMachine(2);
    restoreDevices(fresh.board, fresh.devices, state);
    const again = JSON.parse(JSON.stringify(saveDevices(fresh.board, fresh.devices)));
    assert.deepEqual(again, state, `seed 0x${seed.toString(16)}`);
    const used = makeMachine(2);
    torture(used, seed + 1, 3000);
    restoreDevices(used.board, used.devices, state);
    const pending = (one: typeof used): number[] => one.board.localApics.map((apic) => apic.pendingVector());
    assert.deepEqual(pending(used), pending(fresh), `seed 0x${seed.toString(16)}`);
  }
});

test('a state of a machine with other devices is refused', () => {
  const machine = makeMachine(1, 4);
  const state = saveDevices(machine.board, machine.devices);
  const other = makeMachine(1, 1);
  assert.throws(() => restoreDevices(other.board, other.devices, state), /other devices: acpiPm, com1/);
});

test('a reset leaves a machine that behaves like a new one', () => {
  const machine = makeMachine();
  torture(machine, 0x77, 3000);
  resetDevices(machine.board, machine.devices);
  assert.equal(machine.apic.pendingVector(), -1);
  assert.equal(machine.apic.readMsr(0x1b), 0xfee00900n);
  assert.equal(machine.ports.read(0x21, 1), 0);
});
