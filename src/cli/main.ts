// The command line: every command, and what is common to them.

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { z } from 'zod';
import { EXIT_STATUS } from '../base/errors.ts';
import { createDebugCommand } from './debug.ts';
import { createDoctorCommand } from './doctor.ts';
import { describeFailure } from './failure.ts';
import { createImagesCommand } from './images.ts';
import { createRunCommand } from './run.ts';

const EXAMPLES = `
Examples:
  bulkhead run debian                       boot Debian to a shell in this terminal
  bulkhead run debian -- sh -c 'uname -a'   run a command in it
  bulkhead doctor                           what this host offers
  bulkhead run --help                       everything that run can do`;

const packageSchema = z.object({ version: z.string(), description: z.string() });

export function createProgram(): Command {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version, description } = packageSchema.parse(JSON.parse(text));
  const program = new Command('bulkhead')
    .description(description)
    .version(version, '--version')
    .addHelpText('after', EXAMPLES)
    .addCommand(createRunCommand())
    .addCommand(createImagesCommand())
    .addCommand(createDoctorCommand())
    .addCommand(createDebugCommand());
  for (const command of [program, ...program.commands.flatMap((one) => [one, ...one.commands])]) {
    command.exitOverride();
    command.configureOutput({
      outputError: (line, write) => {
        const problem = line
          .replace(/^error: /, '')
          .trimEnd()
          .replaceAll('\n', ' ');
        write(`bulkhead: ${problem}\n  hint: ${commandPath(command)} --help shows what there is\n`);
      },
    });
  }
  return program;
}

function commandPath(command: Command): string {
  return command.parent === null ? command.name() : `${commandPath(command.parent)} ${command.name()}`;
}

/** Runs a command line. Sets the process's exit code, or exits. */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // A reader that has gone needs no message; 141 is what a shell reports for SIGPIPE.
    if (error.code === 'EPIPE') process.exit(141);
    process.stderr.write(`bulkhead: cannot write to standard output: ${error.message}\n`);
    process.exit(EXIT_STATUS.failure);
  });
  try {
    await createProgram().parseAsync(argv, { from: 'user' });
  } catch (error) {
    // Commander has told already what it found, and also ends `--help` and `--version` this way.
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT_STATUS.ok : EXIT_STATUS.usage);
    const { text, exitStatus } = describeFailure(error);
    process.stderr.write(text);
    process.exit(exitStatus);
  }
}
