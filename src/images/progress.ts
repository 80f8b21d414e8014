// What a long download tells whoever watches it.

export interface Progress {
  /** A transfer begins; a second start begins the next one, or the same one anew. */
  start(label: string, totalBytes: number | undefined): void;
  advance(bytes: number): void;
  /** The transfer has ended, well or not. */
  finish(): void;
}

export const silentProgress: Progress = { start: () => {}, advance: () => {}, finish: () => {} };
