/** Pages of messages from several walks, as one walk would give them: in the order of their ids. */
import { compareIds } from '../../core/sync-id.ts';
import type { StoredMessage } from '../../ports.ts';

interface Branch {
  readonly pages: AsyncIterator<readonly StoredMessage[]>;
  page: readonly StoredMessage[];
  at: number;
}

/** Each walk gives its messages in one direction; so does the result. Holds a page of each. */
export async function* mergedPages(
  walks: readonly AsyncIterable<readonly StoredMessage[]>[],
  ascending: boolean,
  pageSize: number,
): AsyncGenerator<StoredMessage[]> {
  let branches: Branch[] = walks.map((walk) => ({ pages: walk[Symbol.asyncIterator](), page: [], at: 0 }));
  const began = branches;
  try {
    for (const branch of branches) await advance(branch);
    branches = branches.filter(hasMore);
    let merged: StoredMessage[] = [];
    while (branches.length > 0) {
      const first = firstOf(branches, ascending);
      merged.push(first.page[first.at++]!);
      if (merged.length >= pageSize) {
        yield merged;
        merged = [];
      }
      if (hasMore(first)) continue;
      await advance(first);
      branches = branches.filter(hasMore);
    }
    if (merged.length > 0) yield merged;
  } finally {
    for (const { pages } of began) await pages.return?.();
  }
}

async function advance(branch: Branch): Promise<void> {
  const next = await branch.pages.next();
  branch.page = next.done === true ? [] : next.value;
  branch.at = 0;
}

function hasMore({ page, at }: Branch): boolean {
  return at < page.length;
}

function firstOf(branches: readonly Branch[], ascending: boolean): Branch {
  let first = branches[0]!;
  for (const branch of branches) {
    const order = compareIds(branch.page[branch.at]!.id, 0, first.page[first.at]!.id, 0);
    if (ascending ? order < 0 : order > 0) first = branch;
  }
  return first;
}
