// Entry of the machine's thread in a browser: one Web Worker that is one virtual processor with all its devices. It
// does not go back to its event loop while the guest runs: input comes through the channel.

import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import type { Decompressor } from '../../src/machine/boot/decompression/decompressor.ts';
import { runMachine } from '../../src/vm/machine-end.ts';
import type { FromWorker, ToWorker } from './worker-messages.ts';

/** The server has unpacked the kernel. */
const noDecompressor: Decompressor = {
  formats: [],
  decompress(format) {
    throw new Error(`no decoder for ${format}`);
  },
};

const post = (message: FromWorker): void => self.postMessage(message);

self.addEventListener(
  'message',
  ({ data: { channel, message } }: MessageEvent<ToWorker>) => {
    const machine = runMachine(channel, message.config, { post, decompressor: noDecompressor });
    if (machine === undefined) return;
    const { vcpu } = machine;
    if (!(vcpu instanceof SoftwareVcpu)) throw new Error('the machine has another engine');
    post({ kind: 'engine-report', translatedRegions: vcpu.translator.regions });
  },
  { once: true },
);
