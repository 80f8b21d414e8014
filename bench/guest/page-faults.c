// First writes to pages of memory, which is given back and taken again.

#include "program.h"

enum { PAGE_BYTES = 4096, REGION_PAGES = 2048, MADV_DONTNEED = 4, MADV_NOHUGEPAGE = 15 };

static volatile char region[REGION_PAGES * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static int run(void) {
  uint32_t good = 0;
  // Fails where the kernel has no large pages; then there are none to refuse.
  callSystem(MADVISE, (long)region, sizeof region, MADV_NOHUGEPAGE);
  for (uint32_t turn = 0; turn < FAULTS / REGION_PAGES; turn++) {
    for (uint32_t page = 0; page < REGION_PAGES; page++) {
      region[page * PAGE_BYTES] = 1;
      good += region[page * PAGE_BYTES + 1] == 0;
    }
    if (callSystem(MADVISE, (long)region, sizeof region, MADV_DONTNEED) != 0) return 1;
  }
  printHex(good);
  return 0;
}
