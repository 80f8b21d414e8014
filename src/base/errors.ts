// Errors that a person can act on. Anything else that is thrown is a defect of Bulkhead's own.

/** Exit statuses of the command line. A guest command's own status is passed through unchanged. */
export const EXIT_STATUS = {
  ok: 0,
  failure: 1,
  usage: 2,
  guestFault: 70,
  unavailable: 69,
} as const;

/**
 * A failure whose cause lies outside the program: bad input, a missing file, a host that lacks something.
 * `message` is one line that says what is wrong; `hint`, where given, says what to do about it.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly hint: string | undefined;
  readonly exitStatus: number;

  constructor(message: string, options: { hint?: string; exitStatus?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.hint = options.hint;
    this.exitStatus = options.exitStatus ?? EXIT_STATUS.failure;
  }
}
