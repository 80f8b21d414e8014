// One cycle through all nodes of a table larger than the caches, in random order.

#include "program.h"

typedef struct Node {
  struct Node *next;
  uint32_t value;
} __attribute__((aligned(64))) Node;

static Node nodes[NODES];

static int run(void) {
  for (uint32_t i = 0; i < NODES; i++) nodes[i].next = &nodes[i];
  // Sattolo's shuffle: swaps of the links make one cycle.
  for (uint32_t i = NODES - 1; i > 0; i--) {
    uint32_t other = randomBelow(i);
    Node *next = nodes[i].next;
    nodes[i].next = nodes[other].next;
    nodes[other].next = next;
  }
  uint32_t sum = 0;
  Node *node = nodes;
  for (uint32_t step = 0; step < STEPS; step++) {
    sum = sum * 31 + (uint32_t)(node - nodes) + node->value++;
    node = node->next;
  }
  printHex(sum);
  return 0;
}
