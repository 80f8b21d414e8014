// Two processes that wake each other through two pipes, a byte at a time.

#include "program.h"

static int run(void) {
  int there[2], back[2];
  if (callSystem(PIPE, (long)there, 0, 0) != 0 || callSystem(PIPE, (long)back, 0, 0) != 0) return 1;
  uint8_t byte = 0;
  long child = callSystem(FORK, 0, 0, 0);
  if (child == 0) {
    for (uint32_t turn = 0; turn < TURNS; turn++) {
      if (callSystem(READ, there[0], (long)&byte, 1) != 1) return 1;
      byte++;
      callSystem(WRITE, back[1], (long)&byte, 1);
    }
    return 0;
  }
  uint32_t good = 0;
  for (uint32_t turn = 0; turn < TURNS; turn++) {
    byte = turn;
    callSystem(WRITE, there[1], (long)&byte, 1);
    if (callSystem(READ, back[0], (long)&byte, 1) != 1) return 1;
    good += byte == (uint8_t)(turn + 1);
  }
  callSystem(WAIT4, child, 0, 0);
  printHex(good);
  return 0;
}
