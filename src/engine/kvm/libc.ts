// The C library's functions that the KVM engine calls, through koffi. They exist in every thread that imports this; a
// call costs 0.1 to 0.3 µs. x86-64 Linux alone.

import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';
import { EXIT_STATUS, UserError } from '../../base/errors.ts';

/** The functions of the process itself: the same with every C library. */
const libc = koffi.load(null);

const O_RDWR = 2;
const O_CLOEXEC = 0x80000;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MADV_HUGEPAGE = 14;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
const SIGEV_THREAD_ID = 4;
const CLOCK_MONOTONIC = 1;
const SYS_TGKILL = 234;
const SYS_GETTID = 186;

const functions = {
  open: libc.func('int open(const char *path, int flags)'),
  close: libc.func('int close(int fd)'),
  ioctlValue: libc.func('int ioctl(int fd, unsigned long request, long value)'),
  ioctlBuffer: libc.func('int ioctl(int fd, unsigned long request, void *buffer)'),
  mmap: libc.func('uintptr_t mmap(uintptr_t at, size_t length, int protection, int flags, int fd, long offset)'),
  madvise: libc.func('int madvise(uintptr_t at, size_t length, int advice)'),
  munmap: libc.func('int munmap(uintptr_t at, size_t length)'),
  syscall0: libc.func('long syscall(long number)'),
  syscall3: libc.func('long syscall(long number, long first, long second, long third)'),
  sigaction: libc.func('int sigaction(int signal, void *action, void *old)'),
  timerCreate: libc.func('int timer_create(int clock, void *event, void *timer)'),
  timerSettime: libc.func('int timer_settime(uintptr_t timer, int flags, void *value, void *old)'),
  timerDelete: libc.func('int timer_delete(uintptr_t timer)'),
};

/** By errno's word, for the calls below. */
const MEANINGS: Readonly<Record<string, string>> = {
  EAGAIN: 'a limit of this user is reached: raise `ulimit -i`',
  ENOMEM: 'the kernel has no memory or address space left for it',
  EMFILE: 'this process has no descriptor left: raise `ulimit -n`',
};

/** A call of the C library that failed. */
export class SystemCallError extends UserError {
  /** Such as ENOMEM. */
  readonly code: string;
  /** What that means for the user; undefined for an errno that nobody expects. */
  readonly meaning: string | undefined;

  constructor(call: string, errno: number) {
    const code = errnoWord(errno);
    const meaning = MEANINGS[code];
    super(`${call} failed with ${code}`, {
      hint: `${meaning === undefined ? '' : `${meaning}; `}--engine software runs without it`,
      exitStatus: EXIT_STATUS.guestFault,
    });
    this.code = code;
    this.meaning = meaning;
  }
}

/** ENOENT and the like for an errno value. */
export function errnoWord(errno: number): string {
  return errno > 0 ? getSystemErrorName(-errno) : 'no error';
}

function check(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, koffi.errno());
  return result;
}

/** A descriptor for reading and writing, closed on exec. Throws SystemCallError. */
export function openDevice(path: string): number {
  return check(`open ${path}`, functions.open(path, O_RDWR | O_CLOEXEC));
}

export function closeDescriptor(descriptor: number): void {
  check('close', functions.close(descriptor));
}

/** The result, or -errno. */
export function ioctlWithValue(descriptor: number, request: number, value: number | bigint): number {
  const result = functions.ioctlValue(descriptor, request, value);
  return result < 0 ? -koffi.errno() : result;
}

/** The result, or -errno. */
export function ioctlWithBuffer(descriptor: number, request: number, buffer: Uint8Array): number {
  const result = functions.ioctlBuffer(descriptor, request, buffer);
  return result < 0 ? -koffi.errno() : result;
}

export interface Mapping {
  readonly buffer: ArrayBuffer;
  /** The buffer must not be touched afterwards. */
  unmap(): void;
}

/** Maps `lengthBytes` of a descriptor, shared, for reading and writing. Throws SystemCallError. */
export function mapDescriptor(descriptor: number, lengthBytes: number): Mapping {
  const at = BigInt(functions.mmap(0, lengthBytes, PROT_READ_WRITE, MAP_SHARED, descriptor, 0));
  if (BigInt.asUintN(64, at) === MAP_FAILED) throw new SystemCallError('mmap', koffi.errno());
  return {
    buffer: koffi.view(at, lengthBytes),
    unmap: () => {
      check('munmap', functions.munmap(at, lengthBytes));
    },
  };
}

/** Where bytes lie in the process. The same in every thread for shared memory, and unchanged while that lives. */
export function locateBytes(bytes: Uint8Array): bigint {
  return BigInt(koffi.address(bytes));
}

/**
 * Asks for large pages behind a part of the memory; one that a kernel without them refuses goes on with small ones.
 * They halve the levels of a page walk in the guest, and more.
 */
export function adviseLargePages(at: bigint, lengthBytes: number): void {
  functions.madvise(at, lengthBytes, MADV_HUGEPAGE);
}

/** The kernel's number of this thread. */
export function threadId(): number {
  return Number(functions.syscall0(SYS_GETTID));
}

// The signal that takes a thread out of KVM_RUN.

/** A real-time signal that neither C libraries nor V8 nor libuv use. */
export const KICK_SIGNAL = 44;
/** struct sigaction of glibc and musl on x86-64: handler, mask, flags, restorer. */
const SIGACTION_BYTES = 152;
const SIGACTION_HANDLER_OFFSET = 0;
const SIGACTION_FLAGS_OFFSET = 136;
const SA_RESTART = 0x1000_0000;
const SIGEVENT_BYTES = 64;
const ITIMERSPEC_BYTES = 32;

/** A kick that comes outside KVM_RUN has no effect, so it is sent again and again until the thread has heard it. */
const KICK_AGAIN_NS = 500e3;

let kickIsHarmless = false;

/**
 * The signal's own action is to end the process. A function that does nothing, and is no JavaScript, stands there
 * instead.
 */
function makeKickHarmless(): void {
  if (kickIsHarmless) return;
  const action = new Uint8Array(SIGACTION_BYTES);
  const view = new DataView(action.buffer);
  const harmless = koffi.address(libc.symbol('getpid', 'void *'));
  view.setBigUint64(SIGACTION_HANDLER_OFFSET, BigInt(harmless), true);
  view.setInt32(SIGACTION_FLAGS_OFFSET, SA_RESTART, true);
  check('sigaction', functions.sigaction(KICK_SIGNAL, action, null));
  kickIsHarmless = true;
}

/** Where kicks go: numbers of the kernel's that other threads may have. */
export interface KickTarget {
  readonly thread: number;
  /** A KickTimer of that thread, for kicks alone. */
  readonly timer: number;
}

/**
 * Takes a thread of this process out of KVM_RUN, at once if it is there, and within KICK_AGAIN_NS if it is about to
 * enter. Whoever kicks has left word elsewhere first; the thread disarms the timer before it looks. One that has gone
 * is no error.
 */
export function kickThread({ thread, timer }: KickTarget): void {
  makeKickHarmless();
  functions.syscall3(SYS_TGKILL, process.pid, thread, KICK_SIGNAL);
  functions.timerSettime(timer, 0, KICK_AGAIN, null);
}

/** A struct itimerspec: the interval between two times, then the first. Nanoseconds. */
function timerValue(intervalNs: number, delayNs: number): Uint8Array {
  const value = new Uint8Array(ITIMERSPEC_BYTES);
  const view = new DataView(value.buffer);
  view.setBigInt64(0, BigInt(Math.floor(intervalNs / 1e9)), true);
  view.setBigInt64(8, BigInt(intervalNs % 1e9), true);
  view.setBigInt64(16, BigInt(Math.floor(delayNs / 1e9)), true);
  view.setBigInt64(24, BigInt(delayNs % 1e9), true);
  return value;
}

const KICK_AGAIN = timerValue(KICK_AGAIN_NS, KICK_AGAIN_NS);
const DISARMED = timerValue(0, 0);

/** Kicks the thread that made it from a time on, again and again until it is armed anew or disarmed. */
export class KickTimer {
  /** The kernel's number of it. */
  readonly number: number;

  constructor() {
    makeKickHarmless();
    const event = new Uint8Array(SIGEVENT_BYTES);
    const view = new DataView(event.buffer);
    view.setInt32(8, KICK_SIGNAL, true);
    view.setInt32(12, SIGEV_THREAD_ID, true);
    view.setInt32(16, threadId(), true);
    const timer = new BigUint64Array(1);
    check('timer_create', functions.timerCreate(CLOCK_MONOTONIC, event, timer));
    this.number = Number(timer[0]);
  }

  arm(delayMs: number): void {
    // 0 would stop it.
    const value = timerValue(KICK_AGAIN_NS, Math.max(1, Math.ceil(delayMs * 1e6)));
    check('timer_settime', functions.timerSettime(this.number, 0, value, null));
  }

  disarm(): void {
    check('timer_settime', functions.timerSettime(this.number, 0, DISARMED, null));
  }

  delete(): void {
    check('timer_delete', functions.timerDelete(this.number));
  }
}
