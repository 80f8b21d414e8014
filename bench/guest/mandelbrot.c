// The Mandelbrot set between -1.5-i and 0.5+i: a sum over the number of turns that each point takes to get away.

#include "program.h"

enum { MAX_TURNS = 100 };

static int run(void) {
  uint32_t sum = 0;
  for (uint32_t row = 0; row < SIDE; row++) {
    double ci = 2.0 * row / SIDE - 1.0;
    for (uint32_t column = 0; column < SIDE; column++) {
      double cr = 2.0 * column / SIDE - 1.5;
      double zr = 0, zi = 0, squareR = 0, squareI = 0;
      uint32_t turns = 0;
      while (turns < MAX_TURNS && squareR + squareI <= 4) {
        zi = 2 * zr * zi + ci;
        zr = squareR - squareI + cr;
        squareR = zr * zr;
        squareI = zi * zi;
        turns++;
      }
      sum = sum * 31 + turns;
    }
  }
  printHex(sum);
  return 0;
}
