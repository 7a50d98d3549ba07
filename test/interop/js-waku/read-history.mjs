/**
 * js-waku's own store client against a real Lacuna, over WebSocket and over TCP: it pages through the history both ways,
 * by topics and by time, and looks messages up by hash. Ends with code 1 on any difference.
 */
// js-waku asks for an engine newer than Node 20, which lacks one function of it.
import '../../../dist/platform.js';
import { tcp } from '@libp2p/tcp';
import { createLightNode, Protocols } from '@waku/sdk';
import { CHAT, lineOf, makeHistory, NETWORK, NOTES, START_MS } from './history.mjs';
import { startLacuna } from './lacuna.mjs';

const PAGE = 20;
const TIME_MS = 120_000;
const failures = [];

const OVER_TCP = { transports: [tcp()] };

async function createClient(libp2p = {}) {
  const node = await createLightNode({
    networkConfig: NETWORK,
    defaultBootstrap: false,
    libp2p: { filterMultiaddrs: false, hideWebSocketInfo: true, ...libp2p },
  });
  await node.start();
  return node;
}

/** Asks, and holds what came against what is due: hashes in order, payloads, and sizes of pages. */
async function compare(transport, name, pages, due, isBackward = false) {
  const startMs = performance.now();
  const sizes = [];
  const read = [];
  try {
    for await (const page of pages) {
      const messages = await Promise.all(page);
      sizes.push(messages.length);
      if (isBackward) read.unshift(...messages);
      else read.push(...messages);
    }
  } catch (error) {
    failures.push(`${transport}: ${name}: ${error}`);
  }
  const found = read.map((message) => (message === undefined ? 'not decoded' : `${message.hashStr}`));
  const expected = due.map(({ hash }) => hash.slice(2));
  const hashesAgree =
    JSON.stringify(found.map((hash) => hash.replace(/^0x/, ''))) === JSON.stringify(expected);
  const payloadsAgree = due.every(({ payload }, at) => payload.equals(read[at]?.payload ?? Buffer.alloc(0)));
  if (!hashesAgree)
    failures.push(`${transport}: ${name}: ${found.length} messages read, ${due.length} due, or others`);
  else if (!payloadsAgree) failures.push(`${transport}: ${name}: a payload differs`);
  const ms = Math.round(performance.now() - startMs);
  const counts = `${String(read.length).padStart(4)} messages  ${String(sizes.length).padStart(2)} pages`;
  console.log(`${transport.padEnd(11)} ${name.padEnd(26)} ${counts}  ${ms} ms`);
}

async function readAll(transport, address, history, client) {
  await client.dial(address);
  await client.waitForPeers([Protocols.Store], 20_000);
  const chat = client.createDecoder({ contentTopic: CHAT });
  const notes = client.createDecoder({ contentTopic: NOTES });
  const ofChat = history.filter(({ contentTopic }) => contentTopic === CHAT);
  const ofNotes = history.filter(({ contentTopic }) => contentTopic === NOTES);
  const query = (decoders, options = {}) =>
    client.store.queryGenerator(decoders, { paginationLimit: PAGE, ...options });
  const check = (...rest) => compare(transport, ...rest);

  await check('all of one content topic', query([chat]), ofChat);
  await check('the same, newest first', query([chat], { paginationForward: false }), ofChat, true);
  await check('pages of 100', query([notes], { paginationLimit: 100 }), ofNotes);

  // The end of a window is exclusive, its start inclusive: a message lies on each.
  const timeStart = new Date(START_MS);
  const timeEnd = new Date(START_MS + 600_000);
  const endNs = BigInt(timeEnd.getTime()) * 1_000_000n;
  const within = ofChat.filter(({ timestamp }) => timestamp < endNs);
  await check('a window of ten minutes', query([chat], { timeStart, timeEnd }), within);
  const after = new Date(START_MS + 7_200_000);
  const later = ofChat.filter(({ timestamp }) => timestamp >= endNs);
  await check('the window after it', query([chat], { timeStart: timeEnd, timeEnd: after }), later);

  const byHash = (messages, more = []) =>
    query([chat, notes], {
      messageHashes: [...more, ...messages.map(({ hash }) => Buffer.from(hash.slice(2), 'hex'))],
      paginationLimit: undefined,
    });
  const unknown = new Uint8Array(32).fill(9);
  await check('three by hash', byHash([history[300], history[7], history[9]]), [
    history[7],
    history[9],
    history[300],
  ]);
  await check('a hundred by hash', byHash(history.slice(100, 200)), history.slice(100, 200));
  await check('150 by hash, in two pages', byHash(history.slice(0, 150), [unknown]), history.slice(0, 150));
  await check('one that is not there', byHash([], [unknown]), []);
}

async function readWith(transport, address, history, libp2p) {
  const client = await createClient(libp2p);
  try {
    await readAll(transport, address, history, client);
  } finally {
    await client.stop();
  }
}

const timer = setTimeout(() => {
  console.error(`no end after ${TIME_MS} ms`);
  process.exit(1);
}, TIME_MS);
const shards = await createClient();
const history = makeHistory((contentTopic) => shards.createDecoder({ contentTopic }).pubsubTopic);
await shards.stop();
const topics = [...new Set(history.map(({ pubsubTopic }) => pubsubTopic))];
const lacuna = await startLacuna(history.map(lineOf), NETWORK.clusterId, topics);
try {
  if (lacuna.imported.stored !== history.length) failures.push(`imported ${JSON.stringify(lacuna.imported)}`);
  const addressOf = (fits) => lacuna.addresses.find(fits);
  const transports = [
    ['WebSocket', addressOf((address) => address.includes('/ws')), undefined],
    ['TCP', addressOf((address) => !address.includes('/ws')), OVER_TCP],
  ];
  for (const [transport, address, libp2p] of transports) {
    // Two at once, of which each asks one thing after the other: two queries of one js-waku may meet on one stream.
    await Promise.all([1, 2].map((number) => readWith(`${transport} ${number}`, address, history, libp2p)));
  }
} catch (error) {
  failures.push(String(error?.stack ?? error));
} finally {
  const code = await lacuna.stop();
  if (code !== 0) failures.push(`the node ended with code ${code}`);
}

clearTimeout(timer);
for (const failure of failures) console.error(`differs: ${failure}`);
console.log(failures.length === 0 ? 'js-waku reads this store as it is' : `${failures.length} differences`);
process.exit(failures.length === 0 ? 0 : 1);
