/**
 * The stores of the sync bench: filled once, in a process of their own, and then copied. A copy costs next to nothing:
 * LevelDB's tables never change, so two stores can have the same ones.
 */
import { copyFile, link, mkdir, readdir, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Workspace } from './cells.ts';
import type { Filled, FillOrder, WorkCommands } from './sync-work-cell.ts';

export const WORK_PROGRAM = fileURLToPath(new URL('./sync-work-cell.ts', import.meta.url));

/** What a copy has of its own: its key, and with it its peer id; whom it met; and its lock. */
const OWN: ReadonlySet<string> = new Set(['identity.key', 'libp2p', 'LOCK']);

export async function fill(space: Workspace, order: FillOrder): Promise<Filled> {
  await mkdir(order.folder, { recursive: true });
  const cell = space.start<WorkCommands>(WORK_PROGRAM, 'fill');
  const filled = await cell.ask('fill', order);
  await cell.end();
  return filled;
}

/** Copies the data folder of a node that is not running, to be that of another node. */
export async function copyStore(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (OWN.has(entry.name)) continue;
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyStore(source, target);
    else if (entry.name.endsWith('.ldb')) await link(source, target);
    else await copyFile(source, target);
  }
}

/** Throws when the disk of the temporary folders has less room. */
export async function assertDisk(bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(tmpdir());
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new Error(`${gb(bytes)} GB of disk are needed in ${tmpdir()}, and ${gb(free)} GB are free`);
}

function gb(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
