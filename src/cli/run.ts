// `bulkhead run`: a guest image or a kernel of one's own, on this terminal or these pipes.

import { fstatSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Command, Option } from 'commander';
import { DescriptorOutput, type OutputStream } from '../backends/output-stream.ts';
import { Terminal } from '../backends/terminal.ts';
import { EXIT_STATUS } from '../base/errors.ts';
import { type GuestImage, resolveImage } from '../images/images.ts';
import { createOverlay, GuestRequestDecoder, type RunOptions } from '../images/overlay.ts';
import { DEFAULT_CODE_CACHE_BYTES, DEFAULT_RAM_BYTES, type MachineConfig } from '../machine/config.ts';
import { CommandSession } from '../vm/command-session.ts';
import { ConsoleSession } from '../vm/console-session.ts';
import { startNodeThread } from '../vm/node-thread.ts';
import { keepStatisticsFile } from '../vm/statistics-file.ts';
import { type LineReader, VirtualMachine } from '../vm/virtual-machine.ts';
import { CPU_MODELS, decideEngine, describeEngine, ENGINES } from './engine-choice.ts';
import { describeFailure } from './failure.ts';
import { formatMemorySize, parseCodeCacheSize, parseMemorySize } from './memory-size.ts';
import { createProgressBar } from './progress-bar.ts';
import { parsePort, type RunFlags, readGuestFile, readInitrd, readUserFile, usageError } from './run-options.ts';
import { type Outcome, outcomeOfCommand, outcomeOfGuest } from './run-outcome.ts';

const EXAMPLES = `
Examples:
  bulkhead run debian                                 an interactive shell; Ctrl-] leaves, \`poweroff\` ends the guest
  bulkhead run debian -- sh -c 'uname -a'             a command: its output, its exit status
  tar c . | bulkhead run debian -- sh -c 'tar x; ls'  with input from a pipe
  bulkhead run debian --file ./tool:/bin/tool -- tool with a program of the host's
  bulkhead run --kernel bzImage --initrd initrd.gz --append 'console=ttyS0' --memory 512M
  bulkhead run --kernel kernel.elf --initrd 'module arguments' --debug-exit 0xf4
  bulkhead run debian --engine software               without KVM, wherever it is

Images: see \`bulkhead images\`.

Exit status:
  0   the guest powered off, reset with --no-reboot, or was left with Ctrl-]
  n   of the guest's command, or (v << 1) | 1 for a write of v to the debug-exit port
  1   a file cannot be read or booted     2   a mistake on the command line
  69  the mirror cannot be used           70  the guest crashed, or Bulkhead did`;

/** The status of a process whose reader has gone, as a shell shows it: 128 + SIGPIPE. */
const OUTPUT_LOST_STATUS = 141;
const SIGNALS = ['SIGTERM', 'SIGHUP', 'SIGINT'] as const;

const collect = (value: string, list: string[] = []): string[] => [...list, value];

export function createRunCommand(): Command {
  return new Command('run')
    .summary('run a guest: an image by name, or a kernel of your own')
    .description('Runs a guest in this terminal. With a command, runs that in the guest and ends with it.')
    .usage('[options] IMAGE [-- COMMAND ARGUMENTS...] | --kernel FILE [options]')
    .argument('[image]', 'guest image, such as debian or debian:12')
    .argument('[command...]', 'what to run in the guest, after --; a shell by default')
    .option('--kernel <file>', 'boot this kernel: bzImage, ELF (Linux, PVH) or Multiboot 1')
    .option('--initrd <file>', 'initrd, or boot module with arguments; repeat for more', collect)
    .option('--append <text>', "kernel command line; is added to an image's own")
    .option('--memory <size>', 'guest memory, such as 512M or 1G', `${DEFAULT_RAM_BYTES / 1024 ** 2}M`)
    .option('--code-cache <size>', 'machine code kept at most', `${DEFAULT_CODE_CACHE_BYTES / 1024 ** 2}M`)
    .addOption(
      new Option('--engine <name>', 'what runs the guest: KVM where it works, or the software engine')
        .choices(ENGINES)
        .default('auto'),
    )
    .addOption(new Option('--cpu <model>', 'the processor that the guest sees; host needs KVM').choices(CPU_MODELS))
    .option('--file <host:guest>', 'put a file into an image; repeat for more', collect)
    .option('-t, --terminal', "run the command on the guest's console, as programs with menus or editors need it")
    .option('--no-reboot', 'end when the guest resets')
    .option('--debug-exit <port>', 'let a write of v to this port end the run with status (v << 1) | 1')
    .option('--verbose', "show the kernel's messages")
    .option('--mirror <url>', "Debian mirror to make images from; the host's apt knows one by default")
    .option('--offline', 'do not use the network')
    .addHelpText('after', EXAMPLES)
    .action(async (image: string | undefined, command: string[], flags: RunFlags) => {
      process.exit(await run(image, command, flags));
    });
}

/** What boots, and how people call it. */
export interface Guest {
  label: string;
  kernel: Uint8Array;
  kernelName: string;
  initrds: MachineConfig['initrds'];
  commandLine: string;
}

async function run(imageName: string | undefined, command: string[], flags: RunFlags): Promise<number> {
  checkFlags(imageName, command, flags);
  const memoryBytes = parseMemorySize(flags.memory);
  const codeCacheBytes = parseCodeCacheSize(flags.codeCache);
  const debugExitPort = flags.debugExit === undefined ? undefined : parsePort(flags.debugExit);
  const files = (flags.file ?? []).map(readGuestFile);
  const streams = { output: new DescriptorOutput(1), errors: new DescriptorOutput(2) };
  const terminal = Terminal.ofProcess();
  if (flags.terminal === true && terminal === undefined) {
    throw usageError('--terminal needs a terminal, and this is none', 'leave it out, or run from a terminal');
  }
  const asCommand = command.length > 0 && flags.terminal !== true;
  const input = asCommand && isNull(0) ? undefined : process.stdin;
  const session = asCommand
    ? commandSession(input, streams, flags)
    : consoleSession({ hasShell: imageName !== undefined, ...streams, terminal });
  const settings: RunOptions = asCommand
    ? {
        stdin: input === undefined ? 'null' : 'serial',
        // Apart, so that each goes where it should; together in one terminal, so that the order stays.
        stderr: streams.output.isTerminal && streams.errors.isTerminal ? 'ttyS1' : 'ttyS3',
      }
    : { terminal: true, ...terminal?.size, ...(process.env.TERM !== undefined && { term: process.env.TERM }) };
  const machine = new VirtualMachine(session.readers, startNodeThread);
  const deciding = decideEngine(flags.engine, flags.cpu);
  // It is waited for below, after whatever fails before it.
  deciding.catch(() => {});
  const writeStatistics = keepStatisticsFile(machine);
  const guest =
    imageName === undefined
      ? ownGuest(flags)
      : imageGuest(await fetchImage(imageName, flags), createOverlayOf(command, settings, files), flags);
  const engine = await deciding;
  const remark = engine.remark === undefined ? '' : `Bulkhead: ${engine.remark}\n`;
  const config = {
    memoryBytes,
    codeCacheBytes,
    kernel: guest.kernel,
    kernelName: guest.kernelName,
    initrds: guest.initrds,
    commandLine: guest.commandLine,
    serialPorts: command.length > 0 ? 4 : 1,
    reboot: flags.reboot && command.length === 0,
    ...(debugExitPort !== undefined && { debugExitPort }),
  };
  machine.start(config, engine.choice);
  const made = [guest.label, describeEngine(engine.choice), formatMemorySize(memoryBytes)].join(', ');
  const banner = `${remark}Bulkhead: ${made}.`;
  const exitStatus = await session.attend(machine, banner);
  await writeStatistics();
  return exitStatus;
}

function checkFlags(imageName: string | undefined, command: readonly string[], flags: RunFlags): void {
  const example = 'bulkhead run debian, or bulkhead run --kernel bzImage; bulkhead run --help has more';
  if (imageName === undefined && flags.kernel === undefined) throw usageError('nothing to run', `try ${example}`);
  if (imageName !== undefined && flags.kernel !== undefined) {
    throw usageError(
      `either an image or --kernel, not both: ${imageName}`,
      'a command can be run in images only; --append gives a kernel its command line',
    );
  }
  if (flags.kernel === undefined && flags.initrd !== undefined) {
    throw usageError('--initrd goes with --kernel; an image has its own', 'bring files in with --file HOST:GUEST');
  }
  if (flags.kernel !== undefined && flags.file !== undefined) {
    throw usageError('--file goes with an image, not with --kernel', 'give your kernel an --initrd');
  }
  if (flags.terminal === true && command.length === 0) {
    throw usageError('--terminal goes with a command', 'a shell has the terminal anyway');
  }
}

// What boots.

export function fetchImage(name: string, flags: RunFlags): Promise<GuestImage> {
  return resolveImage(name, {
    progress: createProgressBar(process.stderr),
    ...(flags.mirror !== undefined && { mirror: flags.mirror }),
    ...(flags.offline !== undefined && { offline: flags.offline }),
  });
}

function createOverlayOf(
  command: readonly string[],
  options: RunOptions,
  files: ReturnType<typeof readGuestFile>[],
): Uint8Array {
  return createOverlay({ options, files, ...(command.length > 0 && { command }) });
}

export function imageGuest(image: GuestImage, overlay: Uint8Array, flags: RunFlags): Guest {
  const own = image.defaultCommandLine.split(' ').filter((word) => flags.verbose !== true || word !== 'quiet');
  return {
    label: `${image.name.replace(/^debian:/, 'Debian ')}, kernel ${image.kernelVersion}`,
    kernel: image.kernel,
    kernelName: image.kernelPath,
    initrds: [{ bytes: image.initrd }, { bytes: overlay }],
    commandLine: [...own, ...(flags.append === undefined ? [] : [flags.append])].join(' '),
  };
}

export function ownGuest(flags: RunFlags): Guest {
  // checkFlags has seen it.
  const kernelName = flags.kernel!;
  return {
    label: kernelName,
    kernel: readUserFile(kernelName, 'kernel'),
    kernelName,
    initrds: (flags.initrd ?? []).map(readInitrd),
    commandLine: flags.append ?? '',
  };
}

// Who attends to the guest.

interface Session {
  readonly readers: readonly (LineReader | undefined)[];
  /** From the machine's start to its end; gives the exit status. */
  attend(machine: VirtualMachine, banner: string): Promise<number>;
}

interface Streams {
  output: OutputStream;
  errors: OutputStream;
}

function consoleSession(options: Streams & { hasShell: boolean; terminal: Terminal | undefined }): Session {
  const { output, errors, terminal } = options;
  const early: { exitStatus?: number } = {};
  let machine: VirtualMachine | undefined;
  const endWith = (exitStatus: number): void => {
    early.exitStatus ??= exitStatus;
    machine?.stop();
  };
  const session = new ConsoleSession({
    input: process.stdin,
    output,
    terminal,
    hasShell: options.hasShell,
    onLeave: () => {
      void errors.write('\n').catch(() => {});
      endWith(EXIT_STATUS.ok);
    },
    onOutputLost: () => endWith(OUTPUT_LOST_STATUS),
  });
  return {
    readers: [session.read, undefined, statusReader(endWith)],
    attend: async (started, banner) => {
      machine = started;
      await machine.started;
      const leave = terminal === undefined ? '' : ' Ctrl-] leaves.';
      await errors.write(`${banner}${leave}\n`).catch(() => {});
      onSignals(() => session.close());
      session.attach(machine);
      try {
        return await finish(errors, machine, (exit) => {
          session.close();
          return early.exitStatus === undefined ? outcomeOfGuest(exit) : { exitStatus: early.exitStatus };
        });
      } finally {
        session.close();
      }
    },
  };
}

/** A command on the console tells its status on COM3. */
function statusReader(endWith: (exitStatus: number) => void): LineReader {
  const decoder = new GuestRequestDecoder();
  return (bytes) => {
    for (const request of decoder.push(bytes)) if (request.kind === 'exit') endWith(request.status);
    return undefined;
  };
}

function commandSession(input: Readable | undefined, { output, errors }: Streams, flags: RunFlags): Session {
  let lost = false;
  let machine: VirtualMachine | undefined;
  const session = new CommandSession({
    input,
    output,
    errors,
    console: flags.verbose === true ? errors : undefined,
    onOutputLost: () => {
      lost = true;
      machine?.stop();
    },
  });
  return {
    readers: session.readers,
    attend: async (started, banner) => {
      machine = started;
      onSignals(() => {});
      const told = machine.started.then(() => errors.write(`${banner}\n`)).catch(() => {});
      session.attach(machine);
      const exitStatus = await finish(errors, machine, async (exit) => {
        if (lost) return { exitStatus: OUTPUT_LOST_STATUS };
        const outcome = outcomeOfCommand(exit, session.status);
        if (outcome.message !== undefined) await errors.write(session.consoleTail()).catch(() => {});
        return outcome;
      });
      await told;
      return exitStatus;
    },
  };
}

/** Waits for the end, tells what there is to tell, and gives the exit status. */
async function finish(
  errors: OutputStream,
  machine: VirtualMachine,
  judge: (exit: Awaited<VirtualMachine['ended']>) => Outcome | Promise<Outcome>,
): Promise<number> {
  const { exitStatus, message, hint } = await judge(await machine.ended);
  if (message !== undefined) {
    const text = `bulkhead: ${message}\n${hint === undefined ? '' : `  hint: ${hint}\n`}`;
    await errors.write(text).catch(() => {});
  }
  return exitStatus;
}

/** A signal ends the process as it would have without us, once `cleanUp` has run. */
function onSignals(cleanUp: () => void): void {
  for (const signal of SIGNALS) {
    process.once(signal, () => {
      cleanUp();
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  }
  process.once('uncaughtException', (error) => {
    cleanUp();
    const { text, exitStatus } = describeFailure(error);
    process.stderr.write(text);
    process.exit(exitStatus);
  });
}

/** Whether a descriptor is the null device: a guest that gets nothing need not listen. */
function isNull(descriptor: number): boolean {
  try {
    const stat = fstatSync(descriptor);
    return stat.isCharacterDevice() && stat.rdev === NULL_DEVICE;
  } catch {
    return true;
  }
}

/** Linux: major 1, minor 3. */
const NULL_DEVICE = 0x103;
