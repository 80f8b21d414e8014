// The largest singular value of the matrix with the elements 1 / ((i + j)(i + j + 1) / 2 + i + 1), by the power method.

#include "program.h"

static double u[SIDE], v[SIDE], between[SIDE];

static inline double element(int i, int j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }

static void multiply(const double *from, double *to) {
  for (int i = 0; i < SIDE; i++) {
    double sum = 0;
    for (int j = 0; j < SIDE; j++) sum += element(i, j) * from[j];
    to[i] = sum;
  }
}

static void multiplyTransposed(const double *from, double *to) {
  for (int i = 0; i < SIDE; i++) {
    double sum = 0;
    for (int j = 0; j < SIDE; j++) sum += element(j, i) * from[j];
    to[i] = sum;
  }
}

static int run(void) {
  for (int i = 0; i < SIDE; i++) u[i] = 1;
  for (int turn = 0; turn < TURNS; turn++) {
    multiply(u, between);
    multiplyTransposed(between, v);
    multiply(v, between);
    multiplyTransposed(between, u);
  }
  double uv = 0, vv = 0;
  for (int i = 0; i < SIDE; i++) {
    uv += u[i] * v[i];
    vv += v[i] * v[i];
  }
  printBits(__builtin_sqrt(uv / vv));
  return 0;
}
