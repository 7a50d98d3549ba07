/** What the store holds: messages of two content topics, made and hashed by js-waku's own code. */
import { messageHashStr } from '@waku/core';

/** Whole milliseconds: the times of js-waku's queries are. */
export const START_MS = Date.UTC(2026, 7, 20);
const COUNT = 345;
const STEP_NS = 3_750_000_000n;

export const NETWORK = { clusterId: 42, numShardsInCluster: 8 };
export const CHAT = '/lacuna-interop/1/chat/proto';
export const NOTES = '/lacuna-interop/1/notes/proto';

/** `pubsubTopicOf` is the client's own sharding. Oldest first, and by hash where times are equal. */
export function makeHistory(pubsubTopicOf) {
  const messages = Array.from({ length: COUNT }, (_, index) => {
    const contentTopic = index % 3 === 0 ? NOTES : CHAT;
    // Every tenth shares its time with the one before. Message 160 lies ten minutes behind the first, to the ns.
    const step = BigInt(index % 10 === 9 ? index - 1 : index);
    const timestamp = BigInt(START_MS) * 1_000_000n + step * STEP_NS;
    const payload = Buffer.from(`message ${index} ${'x'.repeat(index)}`);
    const meta = index % 4 === 0 ? Buffer.from(`meta ${index}`) : undefined;
    const pubsubTopic = pubsubTopicOf(contentTopic);
    const proto = { payload, contentTopic, timestamp, meta, version: 0, ephemeral: false };
    return { ...proto, pubsubTopic, hash: `0x${strip(messageHashStr(pubsubTopic, proto))}` };
  });
  return messages.sort((a, b) => Number(a.timestamp - b.timestamp) || (a.hash < b.hash ? -1 : 1));
}

/** As the store imports it; it refuses a message whose hash it does not find itself. */
export function lineOf({ payload, contentTopic, timestamp, meta, pubsubTopic, hash }) {
  const extra = meta === undefined ? '' : `,"meta":"${meta.toString('base64')}"`;
  const message = `{"payload":"${payload.toString('base64')}","contentTopic":"${contentTopic}","timestamp":${timestamp}${extra}}`;
  return `{"messageHash":"${hash}","message":${message},"pubsubTopic":"${pubsubTopic}"}`;
}

function strip(hex) {
  return hex.startsWith('0x') ? hex.slice(2) : hex;
}
