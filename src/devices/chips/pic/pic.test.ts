import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InterruptLine } from '../../../bus/interrupt-line.ts';
import { PortBus } from '../../../bus/port-bus.ts';
import { Pic } from './pic.ts';

function makePic(): { ports: PortBus; pic: Pic; output: InterruptLine } {
  const ports = new PortBus();
  const output = new InterruptLine(() => {});
  return { ports, pic: new Pic(ports, output), output };
}

/** The sequence with which Linux initialises the pair: vectors 0x30 and 0x38. */
function initialise(ports: PortBus, masterIcw4 = 0x01): void {
  ports.write(0x21, 1, 0xff);
  ports.write(0x20, 1, 0x11);
  ports.write(0x21, 1, 0x30);
  ports.write(0x21, 1, 0x04);
  ports.write(0x21, 1, masterIcw4);
  ports.write(0xa0, 1, 0x11);
  ports.write(0xa1, 1, 0x38);
  ports.write(0xa1, 1, 0x02);
  ports.write(0xa1, 1, 0x01);
  ports.write(0x21, 1, 0);
  ports.write(0xa1, 1, 0);
}

test("Linux's presence probe reads back the mask", () => {
  const { ports } = makePic();
  ports.write(0x21, 1, 0xfb);
  assert.equal(ports.read(0x21, 1), 0xfb);
});

test('an edge interrupts once, and a specific EOI lets the next one through', () => {
  const { ports, pic, output } = makePic();
  initialise(ports);
  pic.setInput(0, true);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x30);
  assert.equal(output.level, false);
  pic.setInput(0, false);
  pic.setInput(0, true);
  assert.equal(output.level, false, 'the same level is still in service');
  ports.write(0x20, 1, 0x60);
  assert.equal(output.level, true);
});

test('a higher priority interrupts a lower one that is in service, not the other way', () => {
  const { ports, pic, output } = makePic();
  initialise(ports);
  pic.setInput(4, true);
  assert.equal(pic.acknowledge(), 0x34);
  pic.setInput(5, true);
  assert.equal(output.level, false);
  pic.setInput(1, true);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x31);
  ports.write(0x20, 1, 0x20);
  ports.write(0x20, 1, 0x0b);
  assert.equal(ports.read(0x20, 1), 0x10, 'the non-specific EOI ended level 1 first');
  ports.write(0x20, 1, 0x20);
  assert.equal(pic.acknowledge(), 0x35);
});

test('a slave interrupt comes through the cascade and needs both EOIs', () => {
  const { ports, pic, output } = makePic();
  initialise(ports);
  pic.setInput(8, true);
  assert.equal(pic.peekVector(), 0x38);
  assert.equal(pic.acknowledge(), 0x38);
  pic.setInput(9, true);
  assert.equal(output.level, false);
  ports.write(0xa0, 1, 0x60);
  assert.equal(output.level, false, "the master's input 2 is still in service");
  ports.write(0x20, 1, 0x62);
  assert.equal(pic.acknowledge(), 0x39);
});

test('a request that goes away before its acknowledge is a spurious interrupt 7 and not in service', () => {
  const { ports, pic } = makePic();
  initialise(ports);
  pic.setInput(3, true);
  pic.setInput(3, false);
  assert.equal(pic.acknowledge(), 0x37);
  ports.write(0x20, 1, 0x0b);
  assert.equal(ports.read(0x20, 1), 0);
});

test('a spurious interrupt of the slave leaves the cascade in service on the master', () => {
  const { ports, pic } = makePic();
  initialise(ports);
  ports.write(0xa1, 1, 0);
  pic.setInput(10, true);
  ports.write(0x20, 1, 0x0a);
  assert.equal(ports.read(0x20, 1), 0x04);
  pic.setInput(10, false);
  assert.equal(pic.acknowledge(), 0x37, 'the cascade fell with the slave');
});

test('a masked input waits in the IRR until it is unmasked', () => {
  const { ports, pic, output } = makePic();
  initialise(ports);
  ports.write(0x21, 1, 0xff);
  pic.setInput(6, true);
  assert.equal(output.level, false);
  assert.equal(ports.read(0x20, 1), 0x40);
  ports.write(0x21, 1, 0xbf);
  assert.equal(output.level, true);
});

test('a level-triggered input requests again after its EOI while it is asserted', () => {
  const { ports, pic, output } = makePic();
  initialise(ports);
  ports.write(0x4d1, 1, 0xff);
  ports.write(0x4d0, 1, 0xff);
  assert.equal(ports.read(0x4d0, 2), 0xdef8, 'the fixed edge inputs stay so');
  pic.setInput(11, true);
  assert.equal(pic.acknowledge(), 0x3b);
  ports.write(0xa0, 1, 0x20);
  ports.write(0x20, 1, 0x20);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x3b);
  pic.setInput(11, false);
  ports.write(0xa0, 1, 0x20);
  ports.write(0x20, 1, 0x20);
  assert.equal(output.level, false);
});

test('automatic EOI leaves nothing in service', () => {
  const { ports, pic, output } = makePic();
  initialise(ports, 0x03);
  pic.setInput(0, true);
  assert.equal(pic.acknowledge(), 0x30);
  pic.setInput(0, false);
  pic.setInput(0, true);
  assert.equal(output.level, true);
});

test('special mask mode lets lower levels through while a masked one is in service', () => {
  const { ports, pic, output } = makePic();
  initialise(ports);
  pic.setInput(1, true);
  pic.acknowledge();
  pic.setInput(6, true);
  assert.equal(output.level, false);
  ports.write(0x20, 1, 0x68);
  ports.write(0x21, 1, 0x02);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x36);
});

test('a poll acknowledges and gives the level', () => {
  const { ports, pic, output } = makePic();
  initialise(ports);
  pic.setInput(5, true);
  ports.write(0x20, 1, 0x0c);
  assert.equal(ports.read(0x20, 1), 0x85);
  assert.equal(output.level, false);
  ports.write(0x20, 1, 0x0c);
  assert.equal(ports.read(0x20, 1), 0);
});

test('a rotating EOI gives the level served the lowest priority', () => {
  const { ports, pic } = makePic();
  initialise(ports);
  pic.setInput(3, true);
  pic.acknowledge();
  ports.write(0x20, 1, 0xa0);
  pic.setInput(3, false);
  pic.setInput(3, true);
  pic.setInput(4, true);
  assert.equal(pic.acknowledge(), 0x34);
});

test('special fully nested mode passes a higher slave level while the slave is served', () => {
  const { ports, pic, output } = makePic();
  initialise(ports, 0x11);
  pic.setInput(12, true);
  assert.equal(pic.acknowledge(), 0x3c);
  pic.setInput(8, true);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x38);
});

test('a restored pair goes on where the saved one stood', () => {
  const first = makePic();
  initialise(first.ports);
  first.pic.setInput(4, true);
  const state = JSON.parse(JSON.stringify(first.pic.save()));
  const second = makePic();
  second.pic.restore(state);
  assert.equal(second.output.level, true);
  assert.equal(second.pic.acknowledge(), 0x34);
  assert.throws(() => second.pic.restore({ ...state, version: 99 }), /version 99/);
});
