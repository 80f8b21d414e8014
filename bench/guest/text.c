// Text that compresses as prose does, the same every time: words of a vocabulary, the first ones far more often.

#include "program.h"

enum { WORDS = 4096, MAX_LETTERS = 12, BUFFER_BYTES = 1 << 16 };

static char words[WORDS][MAX_LETTERS];
static uint8_t lengths[WORDS];
static char buffer[BUFFER_BYTES];

static int run(void) {
  for (int word = 0; word < WORDS; word++) {
    lengths[word] = 2 + randomBelow(MAX_LETTERS - 2);
    for (int letter = 0; letter < lengths[word]; letter++) words[word][letter] = "etaoinshrdlucmfw"[randomBelow(16)];
  }
  uint32_t left = BYTES;
  while (left > 0) {
    uint32_t length = left < BUFFER_BYTES ? left : BUFFER_BYTES;
    uint32_t at = 0;
    while (at < length) {
      // The product of two uniform numbers is small more often than large.
      uint32_t word = randomBelow(randomBelow(WORDS) + 1);
      for (int letter = 0; letter < lengths[word] && at < length; letter++) buffer[at++] = words[word][letter];
      if (at < length) buffer[at++] = randomBelow(12) == 0 ? '\n' : ' ';
    }
    for (uint32_t written = 0; written < length;) {
      long result = callSystem(WRITE, 1, (long)buffer + written, length - written);
      if (result <= 0) return 1;
      written += result;
    }
    left -= length;
  }
  return 0;
}
