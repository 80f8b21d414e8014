// A switch in a loop, twice: a machine of eight registers that runs a program of random instructions, and a scanner
// that goes through random characters and counts tokens.

#include "program.h"

enum { PROGRAM_LENGTH = 1 << 12, TEXT_LENGTH = 1 << 14 };

typedef struct {
  uint8_t operation, target, first, second;
} Instruction;

static Instruction program[PROGRAM_LENGTH];
static char text[TEXT_LENGTH];

static uint32_t runProgram(uint32_t seed) {
  uint32_t r[8] = {seed, 1, 2, 3, 4, 5, 6, 7};
  uint32_t position = 0;
  for (uint32_t count = 0; count < 4 * PROGRAM_LENGTH; count++) {
    const Instruction *i = &program[position];
    uint32_t *target = &r[i->target];
    uint32_t first = r[i->first], second = r[i->second];
    position = (position + 1) % PROGRAM_LENGTH;
    switch (i->operation) {
      case 0: *target = first + second; break;
      case 1: *target = first - second; break;
      case 2: *target = first * second; break;
      case 3: *target = first & second; break;
      case 4: *target = first | second; break;
      case 5: *target = first ^ second; break;
      case 6: *target = first << (second & 31); break;
      case 7: *target = first >> (second & 31); break;
      case 8: *target = ~first + i->second; break;
      case 9: *target = first < second ? first : second; break;
      case 10: *target = first + count; break;
      case 11: *target = (first << 8 | first >> 24) + 1; break;
      case 12: if (first > second) position = (position + i->target) % PROGRAM_LENGTH; break;
      case 13: if (first & 1) position = (position + i->second + 1) % PROGRAM_LENGTH; break;
      case 14: *target = (int32_t)first < 0 ? -first : first + 1; break;
      case 15: *target += first * 31 + 7; break;
    }
  }
  return r[0] ^ r[1] ^ r[2] ^ r[3] ^ r[4] ^ r[5] ^ r[6] ^ r[7];
}

enum State { BLANK, WORD, NUMBER, FRACTION, STRING, ESCAPE, SLASH, COMMENT, OPERATOR };

static uint32_t scanText(void) {
  uint32_t tokens[9] = {0};
  enum State state = BLANK;
  for (uint32_t at = 0; at < TEXT_LENGTH; at++) {
    char c = text[at];
    enum State before = state;
    switch (state) {
      case STRING: state = c == '"' ? BLANK : c == '\\' ? ESCAPE : STRING; break;
      case ESCAPE: state = STRING; break;
      case COMMENT: state = c == '\n' ? BLANK : COMMENT; break;
      default:
        switch (c) {
          case ' ': case '\n': case '\t': state = BLANK; break;
          case '"': state = STRING; break;
          case '/': state = state == SLASH ? COMMENT : SLASH; break;
          case '.': state = state == NUMBER ? FRACTION : OPERATOR; break;
          case '+': case '-': case '*': case '=': case '<': case '>': case '(': case ')': state = OPERATOR; break;
          case '0': case '1': case '2': case '3': case '4':
          case '5': case '6': case '7': case '8': case '9':
            if (state != WORD && state != FRACTION) state = NUMBER;
            break;
          default: state = WORD;
        }
    }
    if (state != before || state == OPERATOR) tokens[state]++;
  }
  uint32_t sum = 0;
  for (int kind = 0; kind < 9; kind++) sum = sum * 31 + tokens[kind];
  return sum;
}

static int run(void) {
  static const char alphabet[] = "abcdefghijklmnop0123456789  \n\t\"\\//..+-*=<>()";
  for (int i = 0; i < PROGRAM_LENGTH; i++) {
    uint32_t bits = randomNumber() >> 32;
    program[i] = (Instruction){bits & 15, bits >> 4 & 7, bits >> 7 & 7, bits >> 10 & 7};
  }
  uint32_t sum = 1;
  for (uint32_t turn = 0; turn < TURNS; turn++) {
    if (turn % 16 == 0) {
      for (int i = 0; i < TEXT_LENGTH; i++) text[i] = alphabet[randomBelow(sizeof alphabet - 1)];
    }
    sum = sum * 33 + runProgram(sum);
    sum = sum * 33 + scanText();
  }
  printHex(sum);
  return 0;
}
