// One v86 guest as a process: its serial console on standard input and output. Started by v86.ts with its options as
// JSON; answers every message on its channel with its counters.

import { readFileSync } from 'node:fs';
import { V86 } from 'v86';

interface GuestOptions {
  wasm: string;
  bios: string;
  vgaBios: string;
  kernel: string;
  initrd: string;
  commandLine: string;
  memoryMebibytes: number;
}

const options = JSON.parse(process.argv[2]!) as GuestOptions;

function image(path: string): { buffer: ArrayBuffer } {
  const { buffer, byteOffset, length } = readFileSync(path);
  return { buffer: buffer.slice(byteOffset, byteOffset + length) as ArrayBuffer };
}

let modules = 0;
const instantiate = WebAssembly.instantiate;
Object.assign(WebAssembly, {
  instantiate(...args: Parameters<typeof instantiate>) {
    modules++;
    return instantiate(...args);
  },
});

const emulator = new V86({
  wasm_path: options.wasm,
  bios: image(options.bios),
  vga_bios: image(options.vgaBios),
  bzimage: image(options.kernel),
  initrd: image(options.initrd),
  cmdline: options.commandLine,
  memory_size: options.memoryMebibytes * 1024 ** 2,
  autostart: true,
  disable_speaker: true,
});

// v86 gives up the thread about every millisecond; what it wrote until then goes out as one chunk.
let output: number[] = [];
emulator.add_listener('serial0-output-byte', (byte: number) => {
  if (output.length === 0) {
    setImmediate(() => {
      process.stdout.write(Uint8Array.from(output));
      output = [];
    });
  }
  output.push(byte);
});
process.stdin.on('data', (bytes: Uint8Array) => emulator.serial_send_bytes(0, bytes));

let instructions = 0;
let seen = 0;
function count(): void {
  const now = emulator.get_instruction_counter();
  instructions += (now - seen) >>> 0;
  seen = now;
}
emulator.add_listener('emulator-ready', () => {
  // The counter wraps at 2^32.
  setInterval(count, 1000);
});
process.on('message', () => {
  count();
  process.send!({ instructions, modules });
});
