// Random programs one after another, each on all engines; what differs is made small and told.

import { Comparison } from './comparison.ts';
import { FEATURES, generateProgram } from './generator.ts';
import { MODES, type Mode } from './guest.ts';
import { listProgram } from './listing.ts';
import { shrink } from './shrinker.ts';

export interface CampaignOptions {
  readonly seed: string;
  readonly programs: number;
  readonly first?: number;
  readonly features?: readonly string[];
  readonly modes?: readonly Mode[];
  readonly shrink?: boolean;
  /** Mismatches after which to stop. */
  readonly stopAfter?: number;
  readonly say?: (line: string) => void;
  /** Is called with each failure as soon as all about it is known. */
  readonly failed?: (failure: string) => void;
}

export interface CampaignResult {
  readonly compared: number;
  readonly unusable: number;
  readonly exceptions: number;
  readonly failures: readonly string[];
}

export const ALL_MODES: readonly Mode[] = Object.values(MODES).filter((mode) => mode !== MODES.interpreted);

export function runCampaign(options: CampaignOptions): CampaignResult {
  const { seed, programs, features = FEATURES, modes = ALL_MODES, stopAfter = 1, first = 0 } = options;
  const comparison = new Comparison(modes);
  const failures: string[] = [];
  const counts = { compared: 0, unusable: 0, exceptions: 0 };
  for (let k = first; k < first + programs && failures.length < stopAfter; k++) {
    const program = generateProgram(`${seed}/${k}`, features);
    const verdict = comparison.compare(program);
    if (verdict.kind === 'same') {
      counts.compared++;
      counts.exceptions += verdict.exceptions;
      continue;
    }
    if (verdict.kind === 'unusable') {
      counts.unusable++;
      continue;
    }
    const repeat = `--seed ${seed} --first ${k} --programs 1 --only ${features.join(',')}`;
    options.say?.(`program ${program.name} differs (${verdict.mode.name}): ${verdict.differences[0]}`);
    const lines = [`${repeat}: ${verdict.mode.name}`, ...verdict.differences];
    comparison.renew();
    const again = comparison.compare(program, [verdict.mode]);
    if (again.kind !== 'different') {
      lines.push('It does not happen on fresh engines: earlier programs have a part in it.');
    } else if (options.shrink !== false) {
      options.say?.('making it smaller ...');
      const small = shrink(program, (candidate) => comparison.compare(candidate, [verdict.mode]).kind === 'different');
      comparison.renew();
      const last = comparison.compare(small, [verdict.mode]);
      lines.push(
        '',
        'made small:',
        ...(last.kind === 'different' ? last.differences : ['(differs no more)']),
        listProgram(small),
      );
    }
    failures.push(lines.join('\n'));
    options.failed?.(failures.at(-1)!);
  }
  return { ...counts, failures };
}
