// Nested calls: a function that calls itself twice, one that calls itself four times with three arguments (Takeuchi's),
// and a chain of small functions through pointers.

#include "program.h"

static __attribute__((noinline)) uint32_t fibonacci(uint32_t n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static __attribute__((noinline)) int takeuchi(int x, int y, int z) {
  return y >= x ? z : takeuchi(takeuchi(x - 1, y, z), takeuchi(y - 1, z, x), takeuchi(z - 1, x, y));
}

typedef uint32_t Step(uint32_t value, uint32_t depth);

static Step addStep, rotateStep, multiplyStep, mixStep;
static Step *volatile steps[4] = {addStep, rotateStep, multiplyStep, mixStep};

static __attribute__((noinline)) uint32_t next(uint32_t value, uint32_t depth) {
  return depth == 0 ? value : steps[value & 3](value, depth - 1);
}

static uint32_t addStep(uint32_t value, uint32_t depth) { return next(value + 0x9e3779b9, depth) + 1; }
static uint32_t rotateStep(uint32_t value, uint32_t depth) { return next(value << 7 | value >> 25, depth) ^ depth; }
static uint32_t multiplyStep(uint32_t value, uint32_t depth) { return next(value * 2654435761u, depth) - 3; }
static uint32_t mixStep(uint32_t value, uint32_t depth) { return next(value ^ value >> 15, depth) * 5; }

static int run(void) {
  uint32_t sum = 0;
  for (uint32_t turn = 0; turn < TURNS; turn++) {
    sum += fibonacci(20 + (turn & 1));
    sum += takeuchi(12, 8, (int)(turn & 3));
    for (uint32_t chain = 0; chain < 1000; chain++) sum = next(sum + chain, 16);
  }
  printHex(sum);
  return 0;
}
