/* The host's own processor as a reference: runs one instruction after another, each from a given user-mode state, and
 * reports the state it leaves. No C library: FS and GS, the stack and every register belong to the instruction under
 * test.
 *
 * A case begins by rt_sigreturn from the handler of the previous one, with the wanted state in the signal frame, and
 * ends by a fault or by the int3 that fills the code pages; the handler finds the resulting state in its own signal
 * frame (Linux: arch/x86/include/uapi/asm/sigcontext.h, ucontext.h). Records are described in oracle.ts. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

struct sigcontext {
  u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
  u16 cs, gs, fs, ss;
  u64 err, trapno, oldmask, cr2;
  u8 *fpstate;
  u64 reserved[8];
};

struct ucontext {
  u64 flags;
  void *link;
  void *stack_base;
  u64 stack_flags;
  u64 stack_size;
  struct sigcontext mc;
  u64 sigmask;
};

struct page {
  u64 address;
  u32 protection;
  u32 reserved;
  u8 content[4096];
};

struct state {
  u64 gpr[16]; /* in the order of instruction encodings */
  u64 rip, rflags, fs_base, gs_base;
  u16 cs, ss, ds, es, fs, gs, reserved[2];
  u8 fxsave[512];
};

struct case_in {
  u32 size; /* of the record, patches included */
  u32 patches;
  struct state state;
  /* then patches: u64 address, u32 length, u32 reserved, bytes padded to a multiple of 8 */
};

struct case_out {
  u32 size;
  u32 vector; /* VECTOR_HANG: the instruction did not end */
  u64 error, cr2;
  struct state state;
  u32 changes, reserved;
  /* then changes against the pages' content: u64 address, 16 bytes */
};

struct ldt_entry {
  u32 number;
  u32 base, limit;
  u32 flags;
};

enum { VECTOR_HANG = 254, MAX_PAGES = 16 };
enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11, SIGALRM = 14 };
enum { FLAG_NT = 1 << 14, FLAG_ID = 1 << 21 };

static struct page pages[MAX_PAGES];
static u32 page_count;
static u8 alternate_stack[1 << 18] __attribute__((aligned(64)));
static u8 input[1 << 20] __attribute__((aligned(8)));
static u64 input_start, input_end;
static u8 output[1 << 20] __attribute__((aligned(8)));
static u64 output_end;
static u64 case_number, alarm_case = ~0ul;
static int case_running;
static int has_fsgsbase;

static long syscall6(long n, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static long syscall3(long n, long a, long b, long c) { return syscall6(n, a, b, c, 0, 0, 0); }

static void quit(int status) {
  syscall3(231, status, 0, 0);
  for (;;) {}
}

static void copy(void *to, const void *from, u64 size) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size)::"memory");
}

/* GCC may call these for structure copies. */
void *memcpy(void *to, const void *from, u64 size) {
  copy(to, from, size);
  return to;
}

void *memset(void *to, int value, u64 size) {
  void *start = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
  return start;
}

static void flush(void) {
  u64 at = 0;
  while (at < output_end) {
    long n = syscall3(1, 1, (long)(output + at), (long)(output_end - at));
    if (n <= 0) quit(1);
    at += (u64)n;
  }
  output_end = 0;
}

/* Makes `size` contiguous input bytes available; the end of input ends the process. */
static u8 *need(u64 size) {
  if (size > sizeof input) quit(3);
  if (input_end - input_start < size && input_start + size > sizeof input) {
    copy(input, input + input_start, input_end - input_start);
    input_end -= input_start;
    input_start = 0;
  }
  while (input_end - input_start < size) {
    flush();
    long n = syscall3(0, 0, (long)(input + input_end), (long)(sizeof input - input_end));
    if (n <= 0) quit(0);
    input_end += (u64)n;
  }
  return input + input_start;
}

static u8 *take(u64 size) {
  u8 *start = need(size);
  input_start += size;
  if (input_start == input_end) input_start = input_end = 0; /* The bytes stay until the next need(). */
  return start;
}

static void put(const void *bytes, u64 size) {
  if (output_end + size > sizeof output) flush();
  copy(output + output_end, bytes, size);
  output_end += size;
}

static struct page *find_page(u64 address) {
  for (u32 i = 0; i < page_count; i++)
    if (address - pages[i].address < 4096) return &pages[i];
  quit(4);
  return 0;
}

static void patch(u64 address, const u8 *bytes, u64 size) {
  while (size > 0) {
    struct page *page = find_page(address);
    u64 room = 4096 - (address - page->address);
    u64 part = size < room ? size : room;
    if (!(page->protection & 2)) syscall3(10, (long)page->address, 4096, 3);
    copy((void *)address, bytes, part);
    if (!(page->protection & 2)) syscall3(10, (long)page->address, 4096, page->protection);
    address += part;
    bytes += part;
    size -= part;
  }
}

/* Appends the 16-byte pieces that differ from the pages' content, and puts the content back. */
static u32 collect_changes(u8 *to) {
  u32 count = 0;
  for (u32 i = 0; i < page_count; i++) {
    struct page *page = &pages[i];
    if (!(page->protection & 1)) continue;
    const u64 *now = (const u64 *)page->address;
    const u64 *base = (const u64 *)page->content;
    int changed = 0;
    for (u32 at = 0; at < 512; at += 2) {
      if (now[at] == base[at] && now[at + 1] == base[at + 1]) continue;
      u64 address = page->address + at * 8;
      copy(to, &address, 8);
      copy(to + 8, now + at, 16);
      to += 24;
      count++;
      changed = 1;
    }
    if (changed) patch(page->address, page->content, 4096);
  }
  return count;
}

static u64 read_base(int gs) {
  u64 base;
  if (!has_fsgsbase) {
    syscall3(158, gs ? 0x1004 : 0x1003, (long)&base, 0);
    return base;
  }
  if (gs) __asm__ volatile("rdgsbase %0" : "=r"(base));
  else __asm__ volatile("rdfsbase %0" : "=r"(base));
  return base;
}

static void write_base(int gs, u64 base) {
  if (!has_fsgsbase) syscall3(158, gs ? 0x1001 : 0x1002, (long)base, 0);
  else if (gs) __asm__ volatile("wrgsbase %0" ::"r"(base));
  else __asm__ volatile("wrfsbase %0" ::"r"(base));
}

static void save_state(struct state *state, const struct ucontext *uc) {
  const struct sigcontext *mc = &uc->mc;
  const u64 gpr[16] = {mc->rax, mc->rcx, mc->rdx, mc->rbx, mc->rsp, mc->rbp, mc->rsi, mc->rdi,
                       mc->r8,  mc->r9,  mc->r10, mc->r11, mc->r12, mc->r13, mc->r14, mc->r15};
  copy(state->gpr, gpr, sizeof gpr);
  state->rip = mc->rip;
  state->rflags = mc->rflags;
  state->cs = mc->cs;
  state->ss = mc->ss;
  __asm__ volatile("mov %%ds, %0" : "=r"(state->ds));
  __asm__ volatile("mov %%es, %0" : "=r"(state->es));
  __asm__ volatile("mov %%fs, %0" : "=r"(state->fs));
  __asm__ volatile("mov %%gs, %0" : "=r"(state->gs));
  state->fs_base = read_base(0);
  state->gs_base = read_base(1);
  copy(state->fxsave, mc->fpstate, 512);
}

static void load_state(const struct state *state, struct ucontext *uc) {
  struct sigcontext *mc = &uc->mc;
  const u64 *gpr = state->gpr;
  mc->rax = gpr[0], mc->rcx = gpr[1], mc->rdx = gpr[2], mc->rbx = gpr[3];
  mc->rsp = gpr[4], mc->rbp = gpr[5], mc->rsi = gpr[6], mc->rdi = gpr[7];
  mc->r8 = gpr[8], mc->r9 = gpr[9], mc->r10 = gpr[10], mc->r11 = gpr[11];
  mc->r12 = gpr[12], mc->r13 = gpr[13], mc->r14 = gpr[14], mc->r15 = gpr[15];
  mc->rip = state->rip;
  mc->rflags = state->rflags;
  mc->cs = state->cs;
  mc->ss = state->ss;
  uc->flags |= 6; /* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
  __asm__ volatile("mov %0, %%ds" ::"r"((u32)state->ds));
  __asm__ volatile("mov %0, %%es" ::"r"((u32)state->es));
  __asm__ volatile("mov %0, %%fs" ::"r"((u32)state->fs));
  __asm__ volatile("mov %0, %%gs" ::"r"((u32)state->gs));
  write_base(0, state->fs_base);
  write_base(1, state->gs_base);
  copy(mc->fpstate, state->fxsave, 464); /* The bytes after it are the kernel's. */
  if (*(u32 *)(mc->fpstate + 464) == 0x46505853) *(u64 *)(mc->fpstate + 512) = 3; /* XSTATE_BV: x87 and SSE */
  /* rt_sigreturn restores neither NT nor ID. */
  u64 flags = 0x202 | (state->rflags & (FLAG_NT | FLAG_ID));
  __asm__ volatile("lea -128(%%rsp), %%rsp; push %0; popfq; lea 128(%%rsp), %%rsp" ::"r"(flags) : "memory", "cc");
}

static void report(const struct ucontext *uc, u32 vector) {
  static u8 buffer[sizeof(struct case_out) + MAX_PAGES * 256 * 24] __attribute__((aligned(8)));
  struct case_out *out = (struct case_out *)buffer;
  out->vector = vector;
  out->error = uc->mc.err;
  out->cr2 = uc->mc.cr2;
  save_state(&out->state, uc);
  out->changes = collect_changes(buffer + sizeof *out);
  out->reserved = 0;
  out->size = (u32)(sizeof *out + out->changes * 24);
  put(buffer, out->size);
}

static void begin_case(struct ucontext *uc) {
  u32 size = *(u32 *)need(4);
  const struct case_in *in = (const struct case_in *)take(size);
  const u8 *at = (const u8 *)(in + 1);
  for (u32 i = 0; i < in->patches; i++) {
    u32 length = *(const u32 *)(at + 8);
    patch(*(const u64 *)at, at + 16, length);
    at += 16 + ((length + 7) & ~7u);
  }
  case_number++;
  load_state(&in->state, uc);
}

static void handle(int signal, void *info, struct ucontext *uc) {
  (void)info;
  __asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc"); /* The kernel leaves AC as it was. */
  if (signal == SIGALRM) {
    if (!case_running || alarm_case != case_number) {
      alarm_case = case_number;
      return;
    }
    report(uc, VECTOR_HANG);
  } else if (case_running) {
    report(uc, (u32)uc->mc.trapno);
  }
  case_running = 1;
  begin_case(uc);
}

__asm__(".globl restorer\nrestorer: mov $15, %eax\nsyscall\n");
extern void restorer(void);

static void catch_signal(int signal) {
  struct {
    void (*handler)(int, void *, struct ucontext *);
    u64 flags;
    void (*restorer)(void);
    u64 mask;
  } action = {handle, 0x4 | 0x08000000 | 0x04000000, restorer, ~0ul}; /* SA_SIGINFO | SA_ONSTACK | SA_RESTORER */
  if (syscall6(13, signal, (long)&action, 0, 8, 0, 0) != 0) quit(5);
}

static void cpuid(u32 leaf, u32 *to) {
  __asm__ volatile("cpuid" : "=a"(to[0]), "=b"(to[1]), "=c"(to[2]), "=d"(to[3]) : "a"(leaf), "c"(0));
}

__attribute__((used)) static void start(u64 *stack) {
  u64 *aux = stack + 1 + stack[0] + 1;
  while (*aux++) {}
  for (; aux[0]; aux += 2)
    if (aux[0] == 26) has_fsgsbase = (aux[1] & 2) != 0; /* AT_HWCAP2, HWCAP2_FSGSBASE */

  /* The pages, then the local descriptor table. */
  page_count = *(u32 *)take(8);
  if (page_count > MAX_PAGES) quit(6);
  for (u32 i = 0; i < page_count; i++) {
    copy(&pages[i], take(sizeof(struct page)), sizeof(struct page));
    /* MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE */
    long got = syscall6(9, (long)pages[i].address, 4096, 3, 0x100022, -1, 0);
    if (got != (long)pages[i].address) quit(7);
    copy((void *)got, pages[i].content, 4096);
    syscall3(10, got, 4096, pages[i].protection);
  }
  u32 ldt_ok = 1;
  u32 ldt_count = *(u32 *)take(8);
  for (u32 i = 0; i < ldt_count; i++)
    if (syscall3(154, 0x11, (long)take(sizeof(struct ldt_entry)), sizeof(struct ldt_entry)) != 0) ldt_ok = 0;

  /* Greeting: what this processor and kernel offer. */
  u32 greeting[16] = {0x4c43524f, ldt_ok, (u32)has_fsgsbase, 0};
  cpuid(0, greeting + 4);
  cpuid(1, greeting + 8);
  cpuid(7, greeting + 12);
  put(greeting, sizeof greeting);
  u32 extended[4];
  cpuid(0x80000001, extended);
  put(extended, sizeof extended);
  cpuid(0xd, extended);
  put(extended, sizeof extended);
  flush();

  struct {
    void *base;
    u64 flags, size;
  } signal_stack = {alternate_stack, 0, sizeof alternate_stack};
  syscall3(131, (long)&signal_stack, 0, 0);
  const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP, SIGALRM};
  for (u32 i = 0; i < sizeof signals / sizeof *signals; i++) catch_signal(signals[i]);
  const u64 interval[4] = {1, 0, 1, 0};
  syscall3(38, 0, (long)interval, 0);
  __asm__ volatile("int3");
  quit(8);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall start\n");
