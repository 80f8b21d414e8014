// The product of two square matrices of ELEMENT, row by row, so that the compiler can use whole vectors.

#include "program.h"

static ELEMENT a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static int run(void) {
  for (int i = 0; i < SIDE; i++) {
    for (int j = 0; j < SIDE; j++) {
      a[i][j] = (ELEMENT)randomBelow(1000) / 1000;
      b[i][j] = (ELEMENT)randomBelow(1000) / 1000;
    }
  }
  for (int i = 0; i < SIDE; i++) {
    for (int k = 0; k < SIDE; k++) {
      ELEMENT factor = a[i][k];
      for (int j = 0; j < SIDE; j++) c[i][j] += factor * b[k][j];
    }
  }
  double sum = 0;
  for (int i = 0; i < SIDE; i++) {
    for (int j = 0; j < SIDE; j++) sum += c[i][j] * (i + 2 * j + 1);
  }
  printBits(sum);
  return 0;
}
