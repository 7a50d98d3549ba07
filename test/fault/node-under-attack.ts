/**
 * A running node with a store, and an honest Lacuna in the test's own process that holds the same. After every attack
 * the node must still be there, serve the honest peer and hold what it held; in the end its memory must have stayed
 * bounded and its store be whole.
 */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { configSchema } from '../../src/config.ts';
import type { WakuMessage } from '../../src/core/message.ts';
import { LacunaNode } from '../../src/node.ts';
import type { Dialect } from '../../src/sync/session.ts';
import { silentLogger } from '../../src/system.ts';
import { exported, lineOf, text } from '../e2e/message-lines.ts';
import { stopPlainHosts } from '../e2e/plain-host.ts';
import {
  ask,
  endAll,
  lacuna,
  lacunaJson,
  memoryOf,
  type RunningNode,
  startNode,
  temporaryFolder,
} from '../e2e/process.ts';

const MEMORY_MIB_MAX = 300;
const CLUSTER_ID = 16;
const DIALECTS: readonly Dialect[] = ['native', 'waku'];

export interface NodeUnderAttack {
  readonly node: RunningNode;
  /** A session of the honest peer with the node, in each dialect or in one: true when both are found to be equal. */
  servesHonestPeer(...dialects: readonly Dialect[]): Promise<boolean>;
}

/** Registers the hooks of a test file; what it returns is ready when the first test runs. */
export function nodeUnderAttack(
  messages: readonly WakuMessage[],
  memoryMibMax = MEMORY_MIB_MAX,
): NodeUnderAttack {
  let node: RunningNode | undefined;
  let honest: LacunaNode | undefined;
  const scene: NodeUnderAttack = {
    get node() {
      return node!;
    },
    async servesHonestPeer(...dialects) {
      for (const dialect of dialects.length > 0 ? dialects : DIALECTS) {
        const { have, need, verified } = await honest!.sync(node!.address, { dryRun: true, dialect });
        if (have + need > 0 || !verified) return false;
      }
      return true;
    },
  };

  beforeAll(async () => {
    const [data, honestData] = [await temporaryFolder(), await temporaryFolder()];
    const input = text(messages.map(lineOf));
    await lacunaJson(['import', '-', '--data', data], { input });
    await lacunaJson(['import', '-', '--data', honestData], { input });
    node = await startNode(data, ['--log-level', 'debug', '--cluster-id', `${CLUSTER_ID}`]);
    const config = configSchema.parse({ data: honestData, listen: [], clusterId: CLUSTER_ID });
    honest = await LacunaNode.open({ config, log: silentLogger });
    await honest.start();
  });

  afterEach(async () => {
    await stopPlainHosts();
    expect(node!.process.isRunning).toBe(true);
    expect(await scene.servesHonestPeer()).toBe(true);
    expect((await ask(node!, '/api/v1/status')).json).toMatchObject({
      messages: messages.length,
      writable: true,
    });
  });

  afterAll(async () => {
    try {
      const memory = memoryOf(node!.process.pid);
      if (memory !== undefined) expect(memory.peak).toBeLessThan(memoryMibMax);
      node!.process.kill('SIGTERM');
      expect((await node!.process.ended).code).toBe(0);
      expect(await lacunaJson(['verify', '--data', node!.data])).toEqual({
        code: 0,
        json: { checked: messages.length, damaged: 0, repaired: 0 },
      });
      const { stdout } = await lacuna(['export', '--data', node!.data]);
      expect(stdout === exported(messages.map(lineOf))).toBe(true);
    } finally {
      await honest?.stop();
      await endAll();
    }
  });

  return scene;
}
