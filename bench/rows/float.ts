// Floating point: scalar SSE2 in loops and in calls, and whole vectors of doubles and of floats.

import { type Mode, programRow, type Row } from './row.ts';

const BODY_STEPS = { quick: 10_000, short: 100_000, standard: 1_000_000 };
const MANDELBROT_SIDE = { quick: 100, short: 300, standard: 1000 };
const NORM_SIDE = { quick: 100, short: 300, standard: 1000 };
const NORM_TURNS = 10;
const MATRIX_SIDE = { quick: 128, short: 256, standard: 512 };

export function floatRows(mode: Mode): Row[] {
  const side = MATRIX_SIDE[mode];
  return [
    programRow(
      { name: 'n-body', group: 'float', summary: `five bodies, ${BODY_STEPS[mode].toLocaleString('en')} steps` },
      { source: 'n-body', defines: { STEPS: BODY_STEPS[mode] } },
    ),
    programRow(
      { name: 'mandelbrot', group: 'float', summary: `Mandelbrot set, ${MANDELBROT_SIDE[mode]} points square` },
      { source: 'mandelbrot', defines: { SIDE: MANDELBROT_SIDE[mode] } },
    ),
    programRow(
      { name: 'spectral-norm', group: 'float', summary: `spectral norm of a matrix, ${NORM_SIDE[mode]} square` },
      { source: 'spectral-norm', defines: { SIDE: NORM_SIDE[mode], TURNS: NORM_TURNS } },
    ),
    ...(['double', 'float'] as const).map((element) =>
      programRow(
        { name: `matrix-${element}`, group: 'float', summary: `product of two ${side}x${side} matrices of ${element}` },
        { source: 'matrix', defines: { SIDE: side, ELEMENT: element } },
      ),
    ),
  ];
}
