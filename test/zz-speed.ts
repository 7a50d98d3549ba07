import { LevelMessageStore } from '../src/store/message-store.ts';
import { systemClock, systemSha256, systemLogger } from '../src/system.ts';
import { policyOf } from '../test/store/open-store.ts';
import { hashOf, makeId } from '../src/core/sync-id.ts';
import { encodeMessageAndTopic, MessageView, asBuffer } from '../src/wire/waku-message.ts';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
const N = Number(process.argv[2] ?? 1_000_000);
const policy = process.argv.slice(3);
const folder = await mkdtemp('/tmp/ret/s-');
const nowNs = BigInt(Date.now()) * 1_000_000n;
const view = new MessageView();
const options = { directory: folder, create: true, clock: systemClock, log: systemLogger('silent' as never), sha256: systemSha256 };
let store = await LevelMessageStore.open(options);
let t = performance.now();
for (let i = 0; i < N; i += 1000) {
  const batch = Array.from({ length: 1000 }, (_, k) => {
    const timestamp = nowNs - BigInt(N - i - k) * 1_000_000_000n;
    const pubsubTopic = '/waku/2/rs/1/' + (k & 7), contentTopic = '/a/1/' + (k % 100) + '/proto';
    const encoded = encodeMessageAndTopic({ pubsubTopic, contentTopic, payload: randomBytes(200), timestamp, version: 0, ephemeral: false, meta: new Uint8Array(), rateLimitProof: new Uint8Array() });
    return { id: makeId(timestamp, view.read(asBuffer(encoded)).hash(systemSha256)), encoded, pubsubTopic, contentTopic };
  });
  await store.append(batch);
}
console.log('ingest', Math.round(N / (performance.now() - t) * 1000), 'msg/s');
await store.close();
store = await LevelMessageStore.open({ ...options, retention: policyOf(...policy) });
console.log('disk', (await store.database.bytesOnDisk()) / 1e6, 'MB');
t = performance.now();
console.log('dry', await store.retention.pass(true), Math.round(performance.now() - t), 'ms');
t = performance.now();
const r = await store.retention.pass(false);
const ms = performance.now() - t;
console.log('pruned', r, Math.round(ms), 'ms', Math.round(r.removed / ms * 1000), 'msg/s', 'left', store.count, 'disk', (await store.database.bytesOnDisk()) / 1e6, 'MB', 'rss', Math.round(process.memoryUsage().rss/1e6));
t = performance.now();
console.log('again', await store.retention.pass(false), Math.round(performance.now() - t), 'ms');
await store.close();
await rm(folder, { recursive: true });
