// What the page is told about its guest; the files themselves come as bytes.

export interface GuestDescription {
  /** For people. */
  readonly label: string;
  readonly kernelName: string;
  readonly commandLine: string;
  readonly memoryBytes: number;
  /** How many archives make the initramfs. */
  readonly initrdCount: number;
}
