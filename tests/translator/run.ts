// Compares translated with interpreted code on random programs: `node tests/translator/run.ts --help`.

import { parseArgs } from 'node:util';
import { ALL_MODES, runCampaign } from './campaign.ts';
import { FEATURES, generateProgram } from './generator.ts';
import { MODES } from './guest.ts';
import { listProgram } from './listing.ts';

const HELP = `node tests/translator/run.ts [options]

Runs random programs on the interpreter and on the translator and compares everything that they leave behind.

  --seed S      any text; without it the time of day
  --programs N  how many (default 200)
  --first K     the number of the first, to repeat one
  --only A,B    only these features besides plain integer code: ${FEATURES.join(', ')}; none
  --modes X,Y   only these ways to translate: ${Object.keys(MODES).slice(1).join(', ')}
  --all         goes on after a mismatch
  --big         does not make programs smaller
  --list        only prints the programs`;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now()) },
    programs: { type: 'string', default: '200' },
    first: { type: 'string', default: '0' },
    only: { type: 'string' },
    modes: { type: 'string' },
    all: { type: 'boolean', default: false },
    big: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) console.log(HELP);
else {
  const features = values.only === undefined ? FEATURES : values.only.split(',').filter((name) => name !== 'none');
  const unknown = features.filter((name) => !(FEATURES as readonly string[]).includes(name));
  if (unknown.length > 0) throw new RangeError(`unknown feature ${unknown.join(', ')}`);
  const wanted = values.modes?.split(',');
  const modes =
    wanted === undefined
      ? ALL_MODES
      : ALL_MODES.filter((mode) => wanted.some((key) => (MODES as Record<string, unknown>)[key] === mode));
  if (modes.length === 0) throw new RangeError('no such mode');
  const { seed } = values;
  const [first, programs] = [Number(values.first), Number(values.programs)];
  if (values.list) {
    for (let k = first; k < first + programs; k++) console.log(listProgram(generateProgram(`${seed}/${k}`, features)));
  } else {
    console.log(`seed ${seed}`);
    const started = performance.now();
    const result = runCampaign({
      seed,
      programs,
      first,
      features,
      modes,
      shrink: !values.big,
      stopAfter: values.all ? Number.POSITIVE_INFINITY : 1,
      say: (line) => console.log(line),
      failed: (failure) => console.log(`\n${failure}\n`),
    });
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(
      `${result.compared} programs alike, ${result.failures.length} different, ${result.unusable} unusable; ` +
        `${result.exceptions} exceptions in them; ${seconds} s`,
    );
    if (result.failures.length > 0) process.exitCode = 1;
  }
}
