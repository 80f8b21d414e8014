// A hot integer loop: ten instructions a turn, one load and one store among them. In assembly, so that the number of
// instructions is known and the same for both architectures. bench/rows/loop.ts computes the same in JavaScript.

#include "program.h"

enum { TABLE_WORDS = 1024 };

static unsigned table[TABLE_WORDS];

#ifdef __x86_64__
#define ELEMENT "(%[table],%%rbx,4)"
#else
#define ELEMENT "(%[table],%%ebx,4)"
#endif

static int run(void) {
  unsigned turns = TURNS;
  unsigned sum = 1;
  unsigned index = 0;
  __asm__ volatile(
      "1:\n\t"
      "movl " ELEMENT ", %%eax\n\t"
      "imull $1664525, %%eax, %%eax\n\t"
      "addl %%edx, %%eax\n\t"
      "movl %%eax, " ELEMENT "\n\t"
      "roll $5, %%edx\n\t"
      "xorl %%eax, %%edx\n\t"
      "incl %%ebx\n\t"
      "andl $1023, %%ebx\n\t"
      "decl %%ecx\n\t"
      "jnz 1b\n\t"
      : "+d"(sum), "+b"(index), "+c"(turns)
      : [table] "S"(table)
      : "eax", "memory", "cc");
  printHex(sum);
  return 0;
}
