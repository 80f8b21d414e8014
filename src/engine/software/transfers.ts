// Segmentation, protection and control transfers, gathered for the processor.

export { farCall, farJump, farReturn } from './far-transfer.ts';
export { checkPushf, cli, sti, writeFlags } from './flags-control.ts';
export { deliverEvent, NO_ERROR_CODE, softwareInterrupt } from './interrupt-delivery.ts';
export { iret } from './interrupt-return.ts';
export { checkSegment, inspectSelector, lldt, loadSegment, ltr } from './segment-load.ts';
export { enter, popa, pusha } from './stack-frame.ts';
export { syscall, sysenter, sysexit, sysret } from './system-call.ts';
export { checkIoPermission } from './task-state.ts';
export type { TransferContext } from './transfer-context.ts';
export { deliverUsual, returnUsual, syscallUsual, sysretUsual } from './usual-transfer.ts';
