import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PciConfiguration } from './pci-configuration.ts';
import { PortBus } from './port-bus.ts';

test("an operating system's probe finds mechanism #1 and the host bridge", () => {
  const ports = new PortBus();
  new PciConfiguration(ports);
  ports.write(0xcfb, 1, 1);
  ports.write(0xcf8, 4, 0x80000000);
  assert.equal(ports.read(0xcf8, 4), 0x80000000);
  assert.equal(ports.read(0xcfc, 4), 0x12378086);
  assert.equal(ports.read(0xcfe, 2), 0x1237);
  ports.write(0xcf8, 4, 0x80000008);
  assert.equal(ports.read(0xcfe, 2), 0x0600);
  assert.equal(ports.read(0xcff, 1), 0x06);
});

test('absent functions, other buses and a disabled address read all ones', () => {
  const ports = new PortBus();
  new PciConfiguration(ports);
  for (const address of [0x80000800, 0x80000100, 0x80010000, 0x00000000]) {
    ports.write(0xcf8, 4, address);
    assert.equal(ports.read(0xcfc, 4), 0xffffffff, address.toString(16));
    ports.write(0xcfc, 4, 0);
  }
});

test('CONFIG_ADDRESS is a dword register with its low bits zero, and survives save and restore', () => {
  const ports = new PortBus();
  const pci = new PciConfiguration(ports);
  ports.write(0xcf8, 4, 0xffffffff);
  assert.equal(ports.read(0xcf8, 4), 0x80fffffc);
  ports.write(0xcf8, 2, 0);
  assert.equal(ports.read(0xcf8, 4), 0x80fffffc);
  const other = new PciConfiguration(new PortBus());
  other.restore(pci.save());
  assert.deepEqual(other.save(), pci.save());
});

test('a function that is plugged in is reached by device and function number', () => {
  const ports = new PortBus();
  const pci = new PciConfiguration(ports);
  const log: string[] = [];
  const target = {
    readConfiguration: (offset: number): number => offset,
    writeConfiguration: (offset: number, sizeBytes: number, value: number): void => {
      log.push(`${offset}:${sizeBytes}=${value}`);
    },
  };
  pci.plug(3, 1, target);
  assert.throws(() => pci.plug(3, 1, target), RangeError);
  ports.write(0xcf8, 4, 0x80001910);
  assert.equal(ports.read(0xcfe, 1), 0x12);
  ports.write(0xcfc, 2, 7);
  assert.deepEqual(log, ['16:2=7']);
});
