// `npm run bench:interrupts`: how late interrupts come in loops of every kind, from when a timer is due at the host to
// the handler's first instruction, which reads the time-stamp counter. Times are the thread's own processor time: the
// guest's work and the engine's, not that of whatever else the host does meanwhile.

import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { startNodeTranslation } from '../src/vm/node-translation.ts';
import { InterruptedLoop } from '../tests/engine/interrupted-loop.ts';
import { LOOP_SHAPES, type LoopShape } from '../tests/engine/loop-shapes.ts';
import { median } from './means.ts';
import { createThreadClock } from './thread-clock.ts';

const HELP = `Usage: npm run bench:interrupts -- [options]

Interrupts loops at random moments and prints how late the guest's handler ran, in microseconds of guest work.

  --samples N    interrupts of a loop (default 2000), or as many as come in two seconds
  --loops TEXT   only the loops whose names contain TEXT
  --json         prints JSON
  --help         prints this
`;

const HOST = 'the host alone';
const TARGET_US = 100;
const LIMIT_MS = 2000;
/** Between a handler and the next interrupt at most. */
const LONGEST_WAIT_US = 300;
/** While code becomes hot and is translated. */
const WARM_UP_MS = 300;
/** After which no interrupt has come at all. */
const HUNG_MS = 10_000;

interface Question {
  readonly name: string;
  readonly tier: Latencies['tier'];
  readonly samples: number;
}

interface Latencies {
  readonly loop: string;
  readonly tier: 'none' | 'interpreted' | 'translated';
  readonly samples: number;
  readonly medianUs: number;
  readonly percentile95Us: number;
  readonly percentile99Us: number;
  readonly maximumUs: number;
}

const nowUs = createThreadClock();

/** What comes of the host alone: a loop that does nothing but look at the clock. */
function measureHost(wanted: number): Latencies {
  const lateUs: number[] = [];
  for (const startMs = performance.now(); lateUs.length < wanted && performance.now() - startMs < LIMIT_MS; ) {
    const dueUs = nowUs() + Math.random() * LONGEST_WAIT_US;
    let us = 0;
    while (us < dueUs) us = nowUs();
    lateUs.push(us - dueUs);
  }
  return summarize(HOST, 'none', lateUs);
}

function summarize(loop: string, tier: Latencies['tier'], lateUs: number[]): Latencies {
  const sorted = lateUs.sort((a, b) => a - b);
  const percentile = (percent: number): number => sorted[Math.floor((sorted.length * percent) / 100)]!;
  return {
    ...{ loop, tier, samples: sorted.length, medianUs: median(sorted) },
    ...{ percentile95Us: percentile(95), percentile99Us: percentile(99), maximumUs: sorted.at(-1)! },
  };
}

function measure(shape: LoopShape, tier: Latencies['tier'], wanted: number): Latencies {
  const lateUs: number[] = [];
  const startMs = performance.now();
  let warm = false;
  let dueUs = nowUs();
  const loop = new InterruptedLoop({
    shape,
    ...(tier === 'interpreted'
      ? { translateAfterSamples: Number.POSITIVE_INFINITY }
      : { translation: startNodeTranslation().begin }),
    isDue: () => nowUs() >= dueUs,
    readTsc: nowUs,
    handled: (tsc) => {
      const elapsedMs = performance.now() - startMs;
      if (warm) lateUs.push(tsc - dueUs);
      warm = elapsedMs > WARM_UP_MS;
      dueUs = nowUs() + Math.random() * LONGEST_WAIT_US;
      return lateUs.length >= wanted || elapsedMs > LIMIT_MS;
    },
  });
  loop.run();
  return summarize(shape.name, tier, lateUs);
}

function format(results: readonly Latencies[]): string {
  const rows = results.map(({ loop, tier, samples, medianUs, percentile95Us, percentile99Us, maximumUs }) =>
    [
      ...[loop.padEnd(34), tier.padEnd(11), String(samples).padStart(7)],
      ...[medianUs, percentile95Us, percentile99Us, maximumUs].map((us) => us.toFixed(0).padStart(8)),
      // The moments are random: the median is half of what lies between two polls, and the host disturbs it least.
      ...(2 * medianUs > TARGET_US ? [`  over ${TARGET_US}`] : []),
    ].join(' '),
  );
  const columns = 'samples   median     95 %     99 %  maximum   (microseconds)';
  const head = `${'loop'.padEnd(34)} ${'tier'.padEnd(11)} ${columns}`;
  return `${[head, ...rows].join('\n')}\n`;
}

/** On a thread that can be ended: a loop that lets no interrupt through has no other end. */
function ask(question: Question): Promise<Latencies> {
  const worker = new Worker(new URL(import.meta.url), { workerData: question });
  return new Promise((resolve, reject) => {
    const never = {
      samples: 0,
      medianUs: Infinity,
      percentile95Us: Infinity,
      percentile99Us: Infinity,
      maximumUs: Infinity,
    };
    const settle = (latencies: Latencies): void => {
      clearTimeout(timer);
      worker.terminate().then(() => resolve(latencies), reject);
    };
    const timer = setTimeout(() => settle({ loop: question.name, tier: question.tier, ...never }), HUNG_MS);
    worker.once('message', settle);
    worker.once('error', reject);
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      samples: { type: 'string', default: '2000' },
      loops: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const samples = Number(values.samples);
  const results = [measureHost(samples)];
  process.stderr.write(`${format(results)}`);
  for (const { name } of LOOP_SHAPES.filter((shape) => shape.name.includes(values.loops))) {
    for (const tier of ['interpreted', 'translated'] as const) {
      results.push(await ask({ name, tier, samples }));
      process.stderr.write(`${format(results.slice(-1)).split('\n')[1]}\n`);
    }
  }
  process.stdout.write(values.json ? `${JSON.stringify(results, undefined, 2)}\n` : format(results));
}

if (isMainThread) await main();
else {
  const { name, tier, samples } = workerData as Question;
  parentPort!.postMessage(measure(LOOP_SHAPES.find((shape) => shape.name === name)!, tier, samples));
}
