// The peer of the KVM engine: a C program that runs one prepared guest on KVM and nothing else. It gets the guest's
// RAM, kvm_regs and kvm_sregs as files, and runs it until it writes to port 0xf4. It prints nanoseconds, port exits and
// MMIO exits, and on a second line the nanoseconds of each CHUNK exits. Interrupt controllers and PIT are the kernel's.
//
//   direct RAM REGS SREGS

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static long call(int fd, unsigned long request, const char *name, void *argument) {
  long result = ioctl(fd, request, argument);
  if (result < 0) fail(name);
  return result;
}

#define CALL(fd, request, argument) call(fd, request, #request, (void *)(argument))

static void load(const char *path, void *to, size_t size) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail(path);
  for (size_t at = 0; at < size;) {
    ssize_t got = read(fd, (char *)to + at, size - at);
    if (got <= 0) fail(path);
    at += got;
  }
  close(fd);
}

enum { END_PORT = 0xf4, CHUNK = 256, MAX_CHUNKS = 1 << 16 };

static unsigned long ports, accesses, sum, marked;
static long marks[MAX_CHUNKS];

static void mark(unsigned long exits) {
  if (exits % CHUNK || marked == MAX_CHUNKS) return;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  marks[marked++] = now.tv_sec * 1000000000L + now.tv_nsec;
}

static void write_port(unsigned port, unsigned size, const unsigned char *data) {
  mark(++ports);
  sum += port + size + data[0];
}

static void write_mmio(unsigned long address, unsigned size, const unsigned char *data) {
  mark(++accesses);
  sum += address + size + data[0];
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  struct stat stat_buffer;
  if (stat(argv[1], &stat_buffer) < 0) fail(argv[1]);
  size_t ram_size = stat_buffer.st_size;
  int system = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (system < 0) fail("/dev/kvm");
  int vm = CALL(system, KVM_CREATE_VM, 0);
  void *ram = aligned_alloc(2 << 20, ram_size);
  if (!ram) fail("aligned_alloc");
  madvise(ram, ram_size, MADV_HUGEPAGE);
  load(argv[1], ram, ram_size);
  CALL(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
  struct kvm_userspace_memory_region region = {.memory_size = ram_size, .userspace_addr = (unsigned long)ram};
  CALL(vm, KVM_SET_USER_MEMORY_REGION, &region);
  CALL(vm, KVM_CREATE_IRQCHIP, 0);
  struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
  CALL(vm, KVM_CREATE_PIT2, &pit);
  int vcpu = CALL(vm, KVM_CREATE_VCPU, 0);
  struct kvm_run *run = mmap(0, CALL(system, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (run == MAP_FAILED) fail("mmap");
  struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(struct kvm_cpuid_entry2));
  cpuid->nent = 256;
  CALL(system, KVM_GET_SUPPORTED_CPUID, cpuid);
  CALL(vcpu, KVM_SET_CPUID2, cpuid);
  struct kvm_regs regs;
  struct kvm_sregs sregs;
  load(argv[2], &regs, sizeof(regs));
  load(argv[3], &sregs, sizeof(sregs));
  CALL(vcpu, KVM_SET_SREGS, &sregs);
  CALL(vcpu, KVM_SET_REGS, &regs);
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (;;) {
    CALL(vcpu, KVM_RUN, 0);
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
      if (run->io.port == END_PORT) break;
      write_port(run->io.port, run->io.size, (unsigned char *)run + run->io.data_offset);
      continue;
    case KVM_EXIT_MMIO:
      write_mmio(run->mmio.phys_addr, run->mmio.len, run->mmio.data);
      continue;
    default:
      fprintf(stderr, "exit %u\n", run->exit_reason);
      return 1;
    }
    break;
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  long ns = (end.tv_sec - start.tv_sec) * 1000000000L + (end.tv_nsec - start.tv_nsec);
  printf("%ld %lu %lu %lu\n", ns, ports, accesses, sum);
  for (unsigned long i = 1; i < marked; i++) printf("%ld ", marks[i] - marks[i - 1]);
  printf("\n");
  return 0;
}
