// A hash table of 64-bit keys with linear probing, at most half full: all keys go in, then as many are looked up, every
// other one of them there.

#include "program.h"

static uint64_t keys[KEYS];
/** 0 is a free slot: the random numbers never are. */
static uint64_t slots[SLOTS];

static inline uint32_t slotOf(uint64_t key) {
  uint32_t mixed = (uint32_t)(key >> 32) ^ (uint32_t)key;
  return mixed * 2654435761u >> (32 - SLOTS_LOG2);
}

static uint32_t find(uint64_t key) {
  uint32_t slot = slotOf(key);
  while (slots[slot] != 0 && slots[slot] != key) slot = (slot + 1) % SLOTS;
  return slot;
}

static int run(void) {
  for (int i = 0; i < KEYS; i++) {
    keys[i] = randomNumber();
    slots[find(keys[i])] = keys[i];
  }
  uint32_t found = 0, sum = 0;
  for (int i = 0; i < KEYS; i++) {
    uint64_t key = i & 1 ? randomNumber() : keys[randomBelow(KEYS)];
    uint32_t slot = find(key);
    if (slots[slot] == key) found++;
    sum = sum * 31 + slot;
  }
  printHex(found);
  printHex(sum);
  return 0;
}
