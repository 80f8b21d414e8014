// Quicksort of random 64-bit keys: the median of three as pivot, insertion sort for short ranges.

#include "program.h"

static uint64_t keys[KEYS];

static void sort(uint64_t *low, uint64_t *high) {
  while (high - low > 16) {
    uint64_t *middle = low + (high - low) / 2;
    uint64_t a = *low, b = *middle, c = *high;
    uint64_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
    uint64_t *left = low, *right = high;
    while (left <= right) {
      while (*left < pivot) left++;
      while (*right > pivot) right--;
      if (left > right) break;
      uint64_t key = *left;
      *left++ = *right;
      *right-- = key;
    }
    // The shorter part by a call, so that the stack stays short.
    if (right - low < high - left) {
      sort(low, right);
      low = left;
    } else {
      sort(left, high);
      high = right;
    }
  }
  for (uint64_t *next = low + 1; next <= high; next++) {
    uint64_t key = *next;
    uint64_t *place = next;
    for (; place > low && place[-1] > key; place--) *place = place[-1];
    *place = key;
  }
}

static int run(void) {
  for (int i = 0; i < KEYS; i++) keys[i] = randomNumber();
  sort(keys, keys + KEYS - 1);
  uint64_t sum = 0;
  for (int i = 0; i < KEYS; i++) {
    if (i > 0 && keys[i - 1] > keys[i]) return 1;
    sum += keys[i] * (2 * (uint64_t)i + 1);
  }
  printHex64(sum);
  return 0;
}
