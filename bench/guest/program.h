// What every guest program here stands on instead of a C library, so that the same source makes a small static program
// for both architectures: its entry, the write and exit system calls, and printing a number in hexadecimal.

#ifndef PROGRAM_H
#define PROGRAM_H

/** The program's work; its exit status. */
static int run(void);

static long callSystem(long number, long first, long second, long third) {
  long result;
#ifdef __x86_64__
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(first), "S"(second), "d"(third)
                   : "rcx", "r11", "memory");
#else
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
#endif
  return result;
}

#ifdef __x86_64__
enum { WRITE = 1, EXIT = 60 };
#else
enum { WRITE = 4, EXIT = 1 };
#endif

/** Eight digits and a newline on standard output. */
static inline void printHex(unsigned value) {
  char line[9];
  for (int digit = 0; digit < 8; digit++) line[digit] = "0123456789abcdef"[(value >> (28 - 4 * digit)) & 15];
  line[8] = '\n';
  callSystem(WRITE, 1, (long)line, sizeof line);
}

// The kernel enters with the stack as no C function expects it.
__attribute__((force_align_arg_pointer, noreturn)) void _start(void) {
  callSystem(EXIT, run(), 0, 0);
  __builtin_unreachable();
}

#endif
