/** The process of one cell of the reconcile bench: `reconcile-cell.ts CASE IMPLEMENTATION` writes a line of JSON. */
import '../src/platform.ts';
import { LacunaError } from '../src/errors.ts';
import { LIMITS } from '../src/limits.ts';
import {
  type Implementation,
  runSession,
  type SessionFigures,
  STOCK,
  verdictOf,
} from './baselines/contender.ts';
import { median } from './measure.ts';
import { type CellOutcome, IMPLEMENTATIONS } from './reconcile.ts';
import { makeSets, type SetPair } from './sets.ts';

/** A session that is not over by then is reported as unfinished. */
const MESSAGES_MAX = 2_000;
/** Sessions are repeated until there are enough of them, or they took this long together. */
const RUNS_MAX = 25;
const RUNS_MS = 4_000;
/** So many are run in any case, the first as a warm-up, where that does not take too long. */
const RUNS_MIN = 4;
const RUNS_MIN_MS = 30_000;

interface Run extends SessionFigures {
  readonly missed: number;
  readonly wrong: number;
}

const [caseName = '', implementationName = ''] = process.argv.slice(2);
const implementation = IMPLEMENTATIONS[implementationName];
if (implementation === undefined) throw new RangeError(`no implementation ${implementationName}`);
// Between two stock nodes no limit of ours holds: at 10,000 differences in a million their payloads are past it.
if (implementation === STOCK) Object.assign(LIMITS, { payloadItems: Infinity, payloadRanges: Infinity });
console.log(JSON.stringify(outcomeOf(makeSets(caseName), implementation)));

function outcomeOf(pair: SetPair, implementation: Implementation): CellOutcome {
  try {
    return measured(pair, implementation);
  } catch (error) {
    if (!(error instanceof LacunaError)) throw error;
    return { failure: 'failed', reason: `${error.code}: ${error.message}` };
  }
}

function measured(pair: SetPair, implementation: Implementation): CellOutcome {
  const runs = runsOf(pair, implementation);
  if (runs.some((run) => !run.finished)) {
    return { failure: 'unfinished', reason: `not finished after ${MESSAGES_MAX} messages` };
  }
  const timed = runs.length >= RUNS_MIN ? runs.slice(1) : runs;
  const middle = (of: (run: Run) => number): number => median(timed.map(of));
  return {
    differences: pair.onlyA.count + pair.onlyB.count,
    bytes: middle((run) => run.bytes),
    messages: middle((run) => run.messages),
    cpuInitiatorMs: middle((run) => run.initiatorMs),
    cpuResponderMs: middle((run) => run.responderMs),
    missed: Math.max(...runs.map((run) => run.missed)),
    wrong: Math.max(...runs.map((run) => run.wrong)),
  };
}

function runsOf(pair: SetPair, { initiator, responder, prefixed }: Implementation): Run[] {
  const beginInitiator = initiator(pair.a, pair);
  const beginResponder = responder(pair.b, pair);
  const runs: Run[] = [];
  const startMs = performance.now();
  do {
    const a = beginInitiator();
    const b = beginResponder();
    const figures = runSession(a, b, prefixed, MESSAGES_MAX);
    runs.push({ ...figures, ...verdictOf(pair, a, b) });
  } while (runs.at(-1)!.finished && another(runs.length, performance.now() - startMs));
  return runs;
}

function another(runs: number, elapsedMs: number): boolean {
  return runs < RUNS_MIN ? elapsedMs < RUNS_MIN_MS : runs < RUNS_MAX && elapsedMs < RUNS_MS;
}
