import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortBus } from '../../../bus/port-bus.ts';
import { DebugExit } from './debug-exit.ts';

test('a write of v ends the VM with (v << 1) | 1, at every width of the port', () => {
  for (const sizeBytes of [1, 2, 4] as const) {
    const ports = new PortBus();
    const statuses: number[] = [];
    new DebugExit(ports, { exit: (status) => statuses.push(status) }, { firstPort: 0xf4, sizeBytes });
    ports.write(0xf4, sizeBytes, 0x10);
    ports.write(0xf4, 1, 0);
    assert.deepEqual(statuses, [0x21, 1]);
    assert.equal(ports.read(0xf4, 1), 0);
  }
});

test('its state is a version, which is checked', () => {
  const exit = new DebugExit(new PortBus(), { exit: () => {} }, { firstPort: 0xf4, sizeBytes: 1 });
  exit.restore(exit.save());
  assert.throws(() => exit.restore({ version: 2 }), /debug-exit/);
});
