import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortBus } from '../../../bus/port-bus.ts';
import { SystemControl } from './system-control.ts';

test('enabling A20 with care for bit 0 does not reset; bit 0 does', () => {
  const ports = new PortBus();
  let resets = 0;
  const control = new SystemControl(ports, { requestReset: () => resets++ });
  ports.write(0x92, 1, (ports.read(0x92, 1) | 2) & ~1);
  assert.equal(resets, 0);
  assert.equal(ports.read(0x92, 1), 2);
  ports.write(0x92, 1, 3);
  assert.equal(resets, 1);
  assert.equal(ports.read(0x92, 1), 2, 'the reset bit does not stick');
  const other = new SystemControl(new PortBus(), { requestReset: () => {} });
  other.restore(JSON.parse(JSON.stringify(control.save())));
  assert.deepEqual(other.save(), control.save());
});
