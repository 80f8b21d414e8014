// Runs single instructions on the host's x86-64 processor, for tests that compare a software model with it.
// Reads records from stdin until its end, writes one result per record to stdout; all fields little-endian.
//   request : u8 length, u8[15] instruction, u64 rax, u64 rflags, u8[512] FXSAVE image, u8[128] memory (at rdi)
//   response: u64 trap (0, or the signal's number), u64 rax, u64 rflags, u8[512] FXSAVE image, u8[128] memory
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct request {
  uint8_t length, instruction[15];
  uint64_t rax, rflags;
  uint8_t fxsave[512], memory[128];
} __attribute__((packed));

struct response {
  uint64_t trap, rax, rflags;
  uint8_t fxsave[512], memory[128];
} __attribute__((packed));

// The thunk's frame: everything that it loads and stores, addressed by r15.
struct frame {
  uint8_t in[512], out[512], memory[128];
  uint64_t rax, rflags, trap;
} __attribute__((aligned(64)));

static struct frame frame;
static uint8_t *thunk, *resume;

// push rbx; push r15; push rbp; mov r15, rdi; fxrstor64 [r15]; lea rdi, [r15+1024];
// push [r15+1160]; popfq; mov rax, [r15+1152]
static const uint8_t prologue[] = {
    0x53, 0x41, 0x57, 0x55, 0x49, 0x89, 0xff, 0x49, 0x0f, 0xae, 0x0f, 0x49, 0x8d, 0xbf, 0x00, 0x04, 0x00,
    0x00, 0x41, 0xff, 0xb7, 0x88, 0x04, 0x00, 0x00, 0x9d, 0x49, 0x8b, 0x87, 0x80, 0x04, 0x00, 0x00};
// mov [r15+1152], rax; pushfq; pop [r15+1160]; fxsave64 [r15+512]; fninit; pop rbp; pop r15; pop rbx; ret
static const uint8_t epilogue[] = {0x49, 0x89, 0x87, 0x80, 0x04, 0x00, 0x00, 0x9c, 0x41, 0x8f, 0x87, 0x88, 0x04,
                                   0x00, 0x00, 0x49, 0x0f, 0xae, 0x87, 0x00, 0x02, 0x00, 0x00, 0xdb, 0xe3, 0x5d,
                                   0x41, 0x5f, 0x5b, 0xc3};

static void on_signal(int number, siginfo_t *info, void *context) {
  ucontext_t *user = context;
  uint8_t *at = (uint8_t *)user->uc_mcontext.gregs[REG_RIP];
  (void)info;
  if (at < thunk || at >= resume + sizeof epilogue) _exit(100 + number);
  frame.trap = number;
  // The epilogue's own FXSAVE sees the state at the trap: the exception is masked only after it, by main's ldmxcsr.
  user->uc_mcontext.gregs[REG_RIP] = (greg_t)resume;
}

int main(void) {
  static uint8_t in_buffer[1 << 20], out_buffer[1 << 20], stack[1 << 16];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  struct request request, last = {0};
  uint32_t mxcsr = 0x1f80;
  setvbuf(stdin, (char *)in_buffer, _IOFBF, sizeof in_buffer);
  setvbuf(stdout, (char *)out_buffer, _IOFBF, sizeof out_buffer);
  sigaltstack(&alternate, NULL);
  sigaction(SIGFPE, &action, NULL);
  sigaction(SIGILL, &action, NULL);
  sigaction(SIGSEGV, &action, NULL);
  thunk = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (thunk == MAP_FAILED) return 2;
  memcpy(thunk, prologue, sizeof prologue);
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    struct response response = {0};
    if (request.length != last.length || memcmp(request.instruction, last.instruction, request.length) != 0) {
      memcpy(thunk + sizeof prologue, request.instruction, request.length);
      resume = thunk + sizeof prologue + request.length;
      memcpy(resume, epilogue, sizeof epilogue);
      last = request;
    }
    memcpy(frame.in, request.fxsave, 512);
    memcpy(frame.memory, request.memory, 128);
    memset(frame.out, 0, 512);
    frame.rax = request.rax;
    frame.rflags = (request.rflags & 0x8d5) | 0x202;
    frame.trap = 0;
    ((void (*)(struct frame *))thunk)(&frame);
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    response.trap = frame.trap;
    response.rax = frame.rax;
    response.rflags = frame.rflags;
    memcpy(response.fxsave, frame.out, 512);
    memcpy(response.memory, frame.memory, 128);
    fwrite(&response, sizeof response, 1, stdout);
  }
  return 0;
}
