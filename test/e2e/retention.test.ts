/** What a node prunes does not come back: its peers do not send it, whoever asks for the session. */
import { afterAll, describe, expect, it } from 'vitest';
import { ago, lineOf, makeMessages, text } from './message-lines.ts';
import { ask, endAll, lacunaJson, sessionOf, startNode, temporaryFolder } from './process.ts';

afterAll(endAll);

const DAY_MS = 86_400_000;

describe('a peer with a shorter history', () => {
  it.for([
    ['of all topics', ['time:2d']],
    ['of all topics but one', ['time:2d', 'content:/keep/1/k/proto=none']],
  ] as const)('is not sent what it does not keep, %s', async ([, policies]) => {
    const [short, long] = [await temporaryFolder(), await temporaryFolder()];
    const old = makeMessages(200, ago(10 * DAY_MS), 1_000_000n);
    const young = makeMessages(20, ago(DAY_MS), 1_000_000n);
    const input = text([...old, ...young].map(lineOf));
    await lacunaJson(['import', '-', '--data', long], { input });
    const node = await startNode(
      short,
      policies.flatMap((policy) => ['--retention', policy]),
    );
    const peer = await startNode(long);
    const first = await sessionOf(peer, node.address, { since: '0' });
    expect(first).toMatchObject({ sent: 20, have: 20, verified: true });
    expect(await sessionOf(peer, node.address, { since: '0' })).toMatchObject({ sent: 0, have: 0 });
    expect((await ask(node, '/api/v1/status')).json['messages']).toBe(20);
  });
});
