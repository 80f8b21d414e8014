// A port through which a test kernel ends its VM with a status. Reads give 0.

import type { AccessSizeBytes, PortBus } from '../../../bus/port-bus.ts';
import { type DebugExitState, restoreDebugExit, saveDebugExit } from './state.ts';
import { exitStatusOf } from './wire.ts';

/** Who ends the VM. */
export interface ExitSink {
  exit(status: number): void;
}

export interface DebugExitOptions {
  firstPort: number;
  /** Width of the port; a wider write comes in pieces, the first of which ends the VM. */
  sizeBytes: AccessSizeBytes;
}

export class DebugExit {
  constructor(ports: PortBus, exitSink: ExitSink, options: DebugExitOptions) {
    ports.map({
      name: 'debug-exit',
      firstPort: options.firstPort,
      count: options.sizeBytes,
      widestBytes: options.sizeBytes,
      handler: {
        readPort: () => 0,
        writePort: (_offset, _sizeBytes, value) => exitSink.exit(exitStatusOf(value)),
      },
    });
  }

  reset(): void {}

  save(): DebugExitState {
    return saveDebugExit();
  }

  restore(state: DebugExitState): void {
    restoreDebugExit(state);
  }
}
