/** What the machine can do at best, measured in the same run as the sessions that are held against it. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Workspace } from './cells.ts';
import { WORK_PROGRAM } from './sync-stores.ts';
import type { WorkCommands } from './sync-work-cell.ts';
import type { Workload } from './workload.ts';

const STREAM_BYTES = 1_200 * 256 * 1024;

export interface Ceilings {
  readonly streamBytesPerSecond: number;
  readonly storeMessagesPerSecond: number;
}

export async function measureCeilings(space: Workspace, workload: Workload): Promise<Ceilings> {
  return {
    streamBytesPerSecond: await stream(space),
    storeMessagesPerSecond: await measureStore(space, workload),
  };
}

async function stream(space: Workspace): Promise<number> {
  return await inFolder(space, 'stream', async (folder) => {
    const receiver = space.start<WorkCommands>(WORK_PROGRAM, 'stream');
    const sender = space.start<WorkCommands>(WORK_PROGRAM, 'stream');
    const address = await receiver.ask('listen', { folder: join(folder, 'to'), bytes: STREAM_BYTES });
    await sender.ask('send', { folder: join(folder, 'from'), address, bytes: STREAM_BYTES });
    const seconds = await receiver.ask('received', undefined);
    await Promise.all([sender.end(), receiver.end()]);
    return STREAM_BYTES / seconds;
  });
}

/** Messages a second that LevelDB alone takes. */
export async function measureStore(space: Workspace, workload: Workload): Promise<number> {
  return await inFolder(space, 'raw-store', async (folder) => {
    const cell = space.start<WorkCommands>(WORK_PROGRAM, 'raw store');
    const seconds = await cell.ask('rawStore', { folder, workload });
    await cell.end();
    return workload.messages / seconds;
  });
}

/** What the parts of receiving reach alone, in messages a second. */
export interface Parts {
  readonly examine: number;
  readonly append: number;
}

export async function measureParts(space: Workspace, workload: Workload): Promise<Parts> {
  return await inFolder(space, 'parts', async (folder) => {
    const cell = space.start<WorkCommands>(WORK_PROGRAM, 'parts');
    const { examineSeconds, appendSeconds } = await cell.ask('parts', { folder, workload });
    await cell.end();
    const { messages } = workload;
    return { examine: messages / examineSeconds, append: messages / appendSeconds };
  });
}

async function inFolder<T>(space: Workspace, name: string, work: (folder: string) => Promise<T>): Promise<T> {
  const folder = space.path(name);
  await mkdir(folder, { recursive: true });
  const result = await work(folder);
  await rm(folder, { recursive: true, force: true });
  return result;
}
