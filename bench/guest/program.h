// What every guest program here stands on instead of a C library, so that the same source makes a small static program
// for both architectures: its entry, the system calls, and printing a number in hexadecimal.

#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdint.h>

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
enum { READ = 0, WRITE = 1, OPEN = 2, PIPE = 22, MADVISE = 28, FORK = 57, EXIT = 60, WAIT4 = 61, GETPPID = 110 };
#else
enum { READ = 3, WRITE = 4, OPEN = 5, PIPE = 42, MADVISE = 219, FORK = 2, EXIT = 1, WAIT4 = 114, GETPPID = 64 };
#endif

/** Eight digits and a newline on standard output. */
static inline void printHex(uint32_t value) {
  char line[9];
  for (int digit = 0; digit < 8; digit++) line[digit] = "0123456789abcdef"[(value >> (28 - 4 * digit)) & 15];
  line[8] = '\n';
  callSystem(WRITE, 1, (long)line, sizeof line);
}

/** High half, low half, a line each. */
static inline void printHex64(uint64_t value) {
  printHex(value >> 32);
  printHex(value);
}

static inline void printBits(double value) {
  union {
    double value;
    uint64_t bits;
  } both = {value};
  printHex64(both.bits);
}

static uint64_t randomState = 0x9e3779b97f4a7c15;

/** Xorshift by 13, 7 and 17: the same numbers every time. */
static inline uint64_t randomNumber(void) {
  randomState ^= randomState << 13;
  randomState ^= randomState >> 7;
  randomState ^= randomState << 17;
  return randomState;
}

/** From 0 to below `limit`, without a division. */
static inline uint32_t randomBelow(uint32_t limit) { return (randomNumber() >> 32) * limit >> 32; }

// The kernel enters with the stack as no C function expects it.
__attribute__((force_align_arg_pointer, noreturn)) void _start(void) {
  callSystem(EXIT, run(), 0, 0);
  __builtin_unreachable();
}

#endif
