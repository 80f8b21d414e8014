// An exception of the guest's, thrown by the engine's own functions while they carry out an instruction or deliver an
// event, and caught at the border to generated code. It is no Error: nobody wants a stack trace of it.

export class GuestFault {
  readonly vector: number;
  /** undefined for vectors that push none. CR2 and DR6 are set by whoever throws. */
  readonly errorCode: number | undefined;

  constructor(vector: number, errorCode?: number) {
    this.vector = vector;
    this.errorCode = errorCode;
  }
}
