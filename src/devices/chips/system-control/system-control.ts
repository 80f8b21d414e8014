// System control port A at 0x92: fast reset by bit 0. A20 is always on; its bit reads back what was written.

import type { PortBus } from '../../../bus/port-bus.ts';
import { initialSystemControlState, restoreSystemControl, type SystemControlState } from './state.ts';
import { SYSTEM_CONTROL_A, SYSTEM_CONTROL_A_PORT } from './wire.ts';

/** Who resets the machine when the guest asks for it. */
export interface ResetSink {
  requestReset(): void;
}

export class SystemControl {
  private state: SystemControlState = initialSystemControlState();

  constructor(ports: PortBus, resetSink: ResetSink) {
    ports.map({
      name: 'system-control',
      firstPort: SYSTEM_CONTROL_A_PORT,
      count: 1,
      widestBytes: 1,
      handler: {
        readPort: () => this.state.value,
        writePort: (_offset, _sizeBytes, value) => {
          this.state.value = value & SYSTEM_CONTROL_A.WRITABLE;
          if (value & SYSTEM_CONTROL_A.FAST_RESET) resetSink.requestReset();
        },
      },
    });
  }

  reset(): void {
    this.state = initialSystemControlState();
  }

  save(): SystemControlState {
    return { ...this.state };
  }

  restore(state: SystemControlState): void {
    this.state = restoreSystemControl(state);
  }
}
