/** Small files that must survive a crash: after the call the file is the new one, before it the old one. */
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Written aside, synced, renamed into place, and the folder synced: the file is the old one or the new one. */
export async function writeDurably(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true });
  const aside = `${path}.new`;
  const file = await open(aside, 'w', mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncFolder(directory);
}

/** Makes renames in the folder last. */
export async function syncFolder(directory: string): Promise<void> {
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
