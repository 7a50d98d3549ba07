/** How much more the disk of the data folder takes. */
import { statfs } from 'node:fs/promises';

/** Bytes; undefined where the system does not tell. */
export async function freeBytes(folder: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
