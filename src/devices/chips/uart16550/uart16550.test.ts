import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InterruptLine } from '../../../bus/interrupt-line.ts';
import { PortBus } from '../../../bus/port-bus.ts';
import { type SerialBackend, Uart16550 } from './uart16550.ts';

const BASE = 0x3f8;
const [RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7];

function makeUart(holdInputUntilReady = false) {
  const ports = new PortBus();
  const sent: number[] = [];
  let edges = 0;
  let ready = 0;
  const modem: boolean[][] = [];
  const line = new InterruptLine((asserted) => {
    if (asserted) edges++;
  });
  const backend: SerialBackend = {
    write: (byte) => sent.push(byte),
    receiveReady: () => ready++,
    modemControl: (dataTerminalReady, requestToSend) => modem.push([dataTerminalReady, requestToSend]),
  };
  const uart = new Uart16550(ports, line, backend, { name: 'COM1', firstPort: BASE, holdInputUntilReady });
  const read = (register: number): number => ports.read(BASE + register, 1);
  const write = (register: number, value: number): void => ports.write(BASE + register, 1, value);
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  return { uart, ports, line, sent, read, write, bytes, modem, edges: () => edges, ready: () => ready };
}

test("Linux's 8250 autoconfiguration finds a 16550A", () => {
  const { read, write } = makeUart();
  write(IER, 0);
  assert.equal(read(IER) & 0x0f, 0);
  write(IER, 0x0f);
  assert.equal(read(IER) & 0x0f, 0x0f);
  write(IER, 0);
  write(MCR, 0x1a); // loop, OUT2, RTS
  assert.equal(read(MSR) & 0xf0, 0x90);
  write(MCR, 0);
  write(LCR, 0xbf);
  write(2, 0);
  write(LCR, 0);
  write(2, 0x01);
  assert.equal(read(IIR) >> 6, 3, 'a working FIFO');
  write(LCR, 0x80);
  assert.notEqual(read(2), 0, 'no EFR: not a 16650');
  write(LCR, 0xbf);
  assert.notEqual(read(2), 0, 'no EFR: not a 16850');
  write(LCR, 0xe0);
  assert.equal((read(2) ^ read(MCR)) & 0x10, 0);
  write(LCR, 0);
  write(2, 0x21);
  assert.equal(read(IIR) >> 5, 6, 'no 64-byte FIFO: not a 16750');
  write(IER, 0x40);
  assert.equal(read(IER) & 0x40, 0, 'no unit enable: not an XScale');
  write(SCR, 0xa5);
  assert.equal(read(SCR), 0xa5);
});

test("Linux's FIFO measurement in loopback counts 16 bytes", () => {
  const { read, write, sent } = makeUart();
  write(2, 0x07);
  write(MCR, 0x10);
  write(LCR, 0x80);
  write(0, 1);
  write(1, 0);
  assert.equal(read(0), 1);
  write(LCR, 3);
  for (let i = 0; i < 256; i++) write(0, i);
  let count = 0;
  while (read(LSR) & 1 && count < 256) {
    assert.equal(read(RBR), count);
    count++;
  }
  assert.equal(count, 16);
  assert.deepEqual(sent, [], 'nothing leaves the chip in loopback');
});

test("Linux's THRE tests see the interrupt again each time that it is enabled", () => {
  const { read, write } = makeUart();
  write(2, 0x07);
  write(IER, 0x02);
  assert.equal(read(IIR) & 0x0f, 0x02);
  write(IER, 0);
  write(IER, 0x02);
  assert.equal(read(IIR) & 0x0f, 0x02);
  assert.equal(read(IIR) & 0x0f, 0x01, 'reading IIR acknowledges it');
  assert.equal(read(LSR) & 0x60, 0x60);
});

test('each transmitted byte goes out at once and gives a new edge', () => {
  const { write, sent, line, edges, read } = makeUart();
  write(IER, 0x02);
  const before = edges();
  write(RBR, 0x41);
  write(RBR, 0x42);
  assert.deepEqual(sent, [0x41, 0x42]);
  assert.equal(edges() - before, 2);
  assert.equal(line.level, true);
  write(IER, 0);
  assert.equal(line.level, false);
  assert.equal(read(IIR), 0x01);
});

test('received bytes interrupt at the trigger level, fewer as a character timeout', () => {
  const { uart, write, read, bytes, line } = makeUart();
  write(2, 0x81); // trigger at 8
  write(IER, 0x05);
  uart.receive(bytes('abc'));
  assert.equal(line.level, true);
  assert.equal(read(IIR), 0xcc);
  uart.receive(bytes('defgh'));
  assert.equal(read(IIR), 0xc4);
  let text = '';
  while (read(LSR) & 1) text += String.fromCharCode(read(RBR));
  assert.equal(text, 'abcdefgh');
  assert.equal(line.level, false);
});

test('interrupts come in order of priority', () => {
  const { uart, write, read, bytes } = makeUart();
  write(2, 0x01);
  write(MCR, 0x10);
  for (let i = 0; i < 17; i++) write(RBR, i); // overrun
  write(MCR, 0x00); // the modem lines come back
  uart.receive(bytes(''));
  write(IER, 0x0f);
  assert.equal(read(IIR) & 0x0f, 0x06);
  assert.equal(read(LSR) & 0x02, 0x02);
  assert.equal(read(IIR) & 0x0f, 0x04);
  while (read(LSR) & 1) read(RBR);
  assert.equal(read(IIR) & 0x0f, 0x02);
  assert.equal(read(IIR) & 0x0f, 0x00);
  assert.equal(read(MSR), 0xbb);
  assert.equal(read(IIR) & 0x0f, 0x01);
});

test('input beyond the FIFO waits, beyond the queue it is refused, and the backend hears of room', () => {
  const { uart, write, read, ready } = makeUart();
  write(2, 0x01);
  const flood = new Uint8Array(10_000).map((_, i) => i & 0xff);
  const taken = uart.receive(flood);
  assert.equal(taken, 4096);
  assert.equal(uart.receive(flood), 16, 'what the FIFO took made room');
  assert.equal(uart.receiveSpace(), 0);
  for (let i = 0; i < taken; i++) assert.equal(read(RBR), i & 0xff);
  assert.equal(ready(), 1);
  assert.equal(read(LSR) & 0x02, 0, 'no overrun');
});

test('held input comes only when a driver has opened the port, after its clearing of the FIFO', () => {
  const { uart, write, read, bytes, modem } = makeUart(true);
  uart.receive(bytes('hi'));
  assert.equal(read(LSR) & 1, 0);
  write(2, 0x07);
  read(RBR);
  write(MCR, 0x0b);
  assert.equal(read(LSR) & 1, 0);
  write(IER, 0x01);
  assert.equal(read(LSR) & 1, 1);
  assert.equal(String.fromCharCode(read(RBR), read(RBR)), 'hi');
  assert.deepEqual(modem, [[true, true]]);
});

test('without FIFOs there is one byte at a time', () => {
  const { uart, write, read, bytes } = makeUart();
  write(IER, 1);
  uart.receive(bytes('xy'));
  assert.equal(read(IIR), 0x04);
  assert.equal(read(RBR), 0x78);
  assert.equal(read(RBR), 0x79);
  assert.equal(read(LSR) & 1, 0);
});

test('the divisor latch hides behind DLAB', () => {
  const { write, read } = makeUart();
  write(LCR, 0x83);
  write(0, 0x34);
  write(1, 0x12);
  assert.equal(read(0) | (read(1) << 8), 0x1234);
  write(LCR, 0x03);
  assert.equal(read(IER), 0);
});

test('a restored port has its bytes, its registers and its interrupt', () => {
  const first = makeUart();
  first.write(2, 0x01);
  first.write(IER, 1);
  first.write(LCR, 0x03);
  first.uart.receive(new Uint8Array(20).fill(7));
  const second = makeUart();
  second.uart.restore(JSON.parse(JSON.stringify(first.uart.save())));
  assert.equal(second.line.level, true);
  let count = 0;
  while (second.read(LSR) & 1) {
    assert.equal(second.read(RBR), 7);
    count++;
  }
  assert.equal(count, 20);
});
