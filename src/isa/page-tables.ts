// Bits of page-table entries. Intel SDM volume 3A, 4.5.4; AMD64 APM volume 2, 5.4.

export const PTE = { P: 1, W: 2, U: 4, A: 0x20, D: 0x40, PS: 0x80, G: 0x100 } as const;
