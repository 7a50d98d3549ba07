/** `explain`: everything that this node knows of one message. */
import type { Command } from 'commander';
import { type Explanation, explain, explanationSchema, parseHash } from '../http/explain.ts';
import { type CommonOptions, type Context, contextOf, withCommonOptions, withStore } from './context.ts';
import { bytes, print, printJson } from './output.ts';
import { runningNode } from './running-node.ts';

export function addExplainCommand(program: Command): void {
  withCommonOptions(
    program
      .command('explain')
      .description('tell what is known of a message: when it came and from whom, or since when it is missed')
      .argument('<hash>', 'its message hash, 64 hexadecimal digits, with 0x or without'),
  )
    .addHelpText(
      'after',
      `
What is missing, a running node knows of the sessions and audits since it was started: ask while it runs. A message
that retention removed for its age is not told from one that never came.

  lacuna audit --list PEER PEER       names what is missing anywhere
  lacuna explain 0x…                  what this node knows of it`,
    )
    .action(runExplain);
}

async function runExplain(text: string, options: CommonOptions): Promise<void> {
  const hash = parseHash(text);
  const context = await contextOf(options);
  const explanation = await explanationOf(context, hash);
  if (context.json) printJson(explanation);
  else print(describe(explanation));
}

/** Of the running node, which also knows what it misses, or of the data folder where none runs. */
async function explanationOf(context: Context, hash: Uint8Array): Promise<Explanation> {
  const node = await runningNode(context.config);
  if (node === undefined) return await withStore(context, false, (store) => explain(store, hash));
  const path = `/api/v1/explain?hash=${Buffer.from(hash).toString('hex')}`;
  return explanationSchema.parse(await node.get(path));
}

const STATES: Readonly<Record<Explanation['state'], string>> = {
  stored: 'it is here',
  quarantined: 'it was damaged and is set aside; a session fetches it again',
  pruned: 'it was here, and retention removed it: it is not fetched again',
  missing: 'it is missing: others have it, and none has brought it',
};

function describe(explanation: Explanation): string {
  const { messageHash, state, time, timestamp, pubsubTopic, contentTopic, missing } = explanation;
  const lines: [string, string][] = [
    ['state', STATES[state]],
    ['time', `${time} (${timestamp} ns)`],
  ];
  if (pubsubTopic !== null) lines.push(['pubsub topic', pubsubTopic]);
  if (contentTopic !== null) lines.push(['content topic', contentTopic]);
  if (explanation.bytes !== null) lines.push(['bytes', bytes(explanation.bytes)]);
  if (state === 'stored') lines.push(['arrived', arrivalInWords(explanation.arrival)]);
  if (missing !== null) {
    lines.push(['missed since', missing.since], ['asked', missing.askedPeers.join(', ') || 'nobody']);
  }
  if (explanation.damagedCopy && state === 'stored') lines.push(['besides', 'a damaged copy is set aside']);
  return [messageHash, ...lines.map(([name, value]) => `  ${name.padEnd(13)} ${value}`)].join('\n');
}

function arrivalInWords(arrival: Explanation['arrival']): string {
  if (arrival === null) return 'it is not known when: an earlier version stored it';
  const { at, path, dialect, role, peer } = arrival;
  if (path === null) return `${at}; it is not known how`;
  if (path === 'import') return `${at}, imported`;
  if (path === 'http') return `${at}, published over HTTP`;
  const opener = role === 'initiator' ? 'this node' : 'the peer';
  return `${at}, in a session (${dialect}) that ${opener} opened, from ${peer ?? 'a peer that is not remembered'}`;
}
