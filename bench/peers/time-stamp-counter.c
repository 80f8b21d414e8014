// Prints the frequency of the host's time-stamp counter in kHz.

#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static double nowMs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(void) {
  double startMs = nowMs();
  unsigned long long start = __rdtsc();
  while (nowMs() - startMs < 100) continue;
  unsigned long long end = __rdtsc();
  printf("%.0f\n", (end - start) / (nowMs() - startMs));
}
