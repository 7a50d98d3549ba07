/** A Lacuna as it is installed: a data folder of its own, messages imported from lines, a node that listens. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const STOP_MS = 15_000;

/**
 * Holds the messages of these lines, and listens on WebSockets and TCP; `stop` ends it and removes its folder. It names
 * its cluster and topics: js-waku asks a node for them, and leaves alone one that serves others.
 */
export async function startLacuna(lines, clusterId, pubsubTopics) {
  const data = await mkdtemp(join(tmpdir(), 'lacuna-interop-'));
  const remove = () => rm(data, { recursive: true, force: true });
  try {
    const imported = await importLines(data, lines);
    const { node, listening } = await listen(data, clusterId, pubsubTopics);
    const stop = async () => {
      const ended = new Promise((resolve) => node.once('exit', resolve));
      const timer = setTimeout(() => node.kill('SIGKILL'), STOP_MS);
      node.kill('SIGTERM');
      const code = await ended;
      clearTimeout(timer);
      await remove();
      return code;
    };
    return { ...listening, imported, stop };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function importLines(data, lines) {
  const process = run(['import', '-', '--data', data, '--json']);
  process.stdin.end(`${lines.join('\n')}\n`);
  const [document] = await linesOf(process);
  return document;
}

async function listen(data, clusterId, pubsubTopics) {
  const anywhere = ['--listen', '/ip4/127.0.0.1/tcp/0/ws', '--listen', '/ip4/127.0.0.1/tcp/0'];
  const covered = pubsubTopics.flatMap((topic) => ['--pubsub-topic', topic]);
  const network = ['--cluster-id', String(clusterId), ...covered];
  const node = run(['start', '--data', data, '--http', '127.0.0.1:0', '--json', ...anywhere, ...network]);
  const lines = createInterface({ input: node.stdout });
  const listening = await new Promise((resolve, reject) => {
    node.once('exit', (code) => reject(new Error(`the node ended with code ${code}`)));
    lines.on('line', (line) => {
      const event = JSON.parse(line);
      if (event.event === 'listening') resolve(event);
    });
  });
  return { node, listening };
}

function run(args) {
  return spawn(process.execPath, [PROGRAM, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function linesOf(child) {
  const parts = [];
  for await (const part of child.stdout) parts.push(part);
  const text = Buffer.concat(parts).toString('utf8').trim();
  if (text === '') throw new Error('the command printed nothing');
  return text.split('\n').map((line) => JSON.parse(line));
}
