import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortBus } from '../../../bus/port-bus.ts';
import { I8042 } from './i8042.ts';

function makeI8042() {
  const ports = new PortBus();
  let resets = 0;
  const i8042 = new I8042(ports, { requestReset: () => resets++ });
  return { ports, i8042, resets: () => resets };
}

test("the kernel's reboot by the keyboard controller resets the machine", () => {
  const { ports, resets } = makeI8042();
  while (ports.read(0x64, 1) & 0x02) assert.fail('the input buffer is never full');
  ports.write(0x64, 1, 0xfe);
  assert.equal(resets(), 1);
  ports.write(0x64, 1, 0xff);
  assert.equal(resets(), 1, 'a pulse that leaves bit 0 alone');
  ports.write(0x64, 1, 0xd1);
  ports.write(0x60, 1, 0xfe);
  assert.equal(resets(), 2);
});

test('a probe gets its answers at once: self test passed, no keyboard, no mouse', () => {
  const { ports } = makeI8042();
  const ask = (command: number): number => {
    ports.write(0x64, 1, command);
    assert.equal(ports.read(0x64, 1) & 1, 1);
    return ports.read(0x60, 1);
  };
  assert.equal(ports.read(0x64, 1) & 1, 0, 'nothing to flush');
  assert.equal(ask(0xaa), 0x55);
  assert.equal(ask(0xab), 1);
  assert.equal(ask(0xa9), 1);
  assert.equal(ask(0x20), 0x34);
  ports.write(0x64, 1, 0x60);
  ports.write(0x60, 1, 0x65);
  assert.equal(ask(0x20), 0x65);
  ports.write(0x60, 1, 0xf2); // identify, to the keyboard
  assert.equal(ports.read(0x64, 1) & 0x41, 0x41, 'a timeout');
  assert.equal(ports.read(0x60, 1), 0xfe);
});

test('a restored controller has its registers', () => {
  const first = makeI8042();
  first.ports.write(0x64, 1, 0x60);
  first.ports.write(0x60, 1, 0x11);
  const second = makeI8042();
  second.i8042.restore(JSON.parse(JSON.stringify(first.i8042.save())));
  second.ports.write(0x64, 1, 0x20);
  assert.equal(second.ports.read(0x60, 1), 0x11);
});
