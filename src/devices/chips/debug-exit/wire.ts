// The debug-exit port, as test kernels know it: any write of v ends the VM with status (v << 1) | 1.

export const DEBUG_EXIT_DEFAULT_PORT = 0xf4;

/** Status from the value written, kept within 32 bits as the shift does. */
export const exitStatusOf = (value: number): number => ((value << 1) | 1) >>> 0;
