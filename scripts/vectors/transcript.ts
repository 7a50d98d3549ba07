/**
 * Recorded sessions between two stock nwakus. Our copy of the stock policy must replay each byte for byte; then
 * Lacuna in either role against that policy, and against itself, must find every true difference within the
 * window and the common scope, also where the recorded session does not.
 */
import { z } from 'zod';
import { lacunaParty } from '../../bench/baselines/lacuna-party.ts';
import {
  type Dialogue,
  type Party,
  runDialogue,
  type StockElement,
  StockNwaku,
  stockParty,
} from '../../bench/baselines/stock-nwaku.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { WAKU_POLICY } from '../../src/core/reconcile.ts';
import { inScope, intersectScopes, type Scope } from '../../src/core/scope.ts';
import { hashOf, makeId, SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import type { CaseResult } from './shared.ts';
import { decimal, fromHex, hexString, runCase, toHex } from './shared.ts';

const sideJson = z.object({
  hashToSend: z.array(hexString),
  hashToRecv: z.array(hexString),
  rounds: z.array(z.tuple([z.number(), z.number()])),
});

export const transcriptFile = z.object({
  name: z.string(),
  lower: decimal,
  upper: decimal,
  initiatorPubsubTopics: z.array(z.string()),
  initiatorContentTopics: z.array(z.string()),
  responderPubsubTopics: z.array(z.string()),
  responderContentTopics: z.array(z.string()),
  elements: z.array(z.string()),
  steps: z.array(
    z.union([
      z.object({ from: z.enum(['A', 'B']), payload: hexString }),
      z.object({ close: z.enum(['A', 'B']) }),
    ]),
  ),
  initiator: sideJson,
  responder: sideJson,
  trueOnlyA: z.number(),
  trueOnlyB: z.number(),
});
export type Transcript = z.infer<typeof transcriptFile>;

interface Sides {
  readonly elementsA: readonly StockElement[];
  readonly elementsB: readonly StockElement[];
  readonly scopeA: Scope;
  readonly scopeB: Scope;
  readonly lowerNs: bigint;
  readonly upperNs: bigint;
}

export function checkTranscript(transcript: Transcript): CaseResult[] {
  const sides = readSides(transcript);
  return [
    runCase('stock to stock, replayed', () => replayFault(transcript, sides)),
    runCase('Lacuna to stock', () => foundFault(sides, run(lacuna(sides, 'A'), stock(sides, 'B')))),
    runCase('stock to Lacuna', () => foundFault(sides, run(stock(sides, 'A'), lacuna(sides, 'B')))),
    runCase('Lacuna to Lacuna', () => foundFault(sides, run(lacuna(sides, 'A'), lacuna(sides, 'B')))),
  ];
}

function readSides(transcript: Transcript): Sides {
  const elements = transcript.elements.map((line) => {
    const [time, hash, side, pubsubTopic, contentTopic] = line.split(' ');
    const id = makeId(BigInt(time!), fromHex(hash!));
    return { id, pubsubTopic: pubsubTopic!, contentTopic: contentTopic!, side: side! };
  });
  return {
    elementsA: elements.filter((element) => element.side.includes('A')),
    elementsB: elements.filter((element) => element.side.includes('B')),
    scopeA: {
      pubsubTopics: transcript.initiatorPubsubTopics,
      contentTopics: transcript.initiatorContentTopics,
    },
    scopeB: {
      pubsubTopics: transcript.responderPubsubTopics,
      contentTopics: transcript.responderContentTopics,
    },
    lowerNs: BigInt(transcript.lower),
    upperNs: BigInt(transcript.upper),
  };
}

function stock(sides: Sides, side: 'A' | 'B'): Party {
  const scope = side === 'A' ? sides.scopeA : sides.scopeB;
  const elements = side === 'A' ? sides.elementsA : sides.elementsB;
  return stockParty(
    new StockNwaku(elements, scope.pubsubTopics, scope.contentTopics),
    sides.lowerNs,
    sides.upperNs,
  );
}

/** The window of a transcript includes its upper time; ours are half-open. */
function lacuna(sides: Sides, side: 'A' | 'B'): Party {
  const elements = side === 'A' ? sides.elementsA : sides.elementsB;
  const indexOf = (scope: Scope) =>
    DigestTree.from(SyncIdList.of(...scoped(elements, scope).map(({ id }) => id)));
  const window = { lowerNs: sides.lowerNs, upperNs: sides.upperNs + 1n };
  return lacunaParty(indexOf, WAKU_POLICY, window, side === 'A' ? sides.scopeA : sides.scopeB);
}

function run(initiator: Party, responder: Party): Dialogue {
  return runDialogue(initiator, responder, encodeRanges, decodeRanges);
}

function replayFault(transcript: Transcript, sides: Sides): string | undefined {
  const dialogue = run(stock(sides, 'A'), stock(sides, 'B'));
  const recorded = transcript.steps.filter((step) => 'payload' in step);
  for (const [index, step] of recorded.entries()) {
    const ours = dialogue.steps[index];
    if (ours === undefined || ours.from !== step.from || toHex(ours.bytes) !== step.payload) {
      return `payload ${index} from ${step.from} differs`;
    }
  }
  if (dialogue.steps.length !== recorded.length)
    return `${dialogue.steps.length} payloads, not ${recorded.length}`;
  const found: [string, SyncIdList, readonly string[]][] = [
    ['initiator sends', dialogue.sendA, transcript.initiator.hashToSend],
    ['initiator receives', dialogue.receiveA, transcript.initiator.hashToRecv],
    ['responder sends', dialogue.sendB, transcript.responder.hashToSend],
    ['responder receives', dialogue.receiveB, transcript.responder.hashToRecv],
  ];
  for (const [what, list, expected] of found) {
    if (hashes(list).join() !== expected.join())
      return `${what} ${list.count} hashes, not the ${expected.length} recorded`;
  }
  return undefined;
}

/** What each side must send: its elements that the other lacks, in the window and in what both cover. */
function foundFault(sides: Sides, dialogue: Dialogue): string | undefined {
  const scope = intersectScopes(sides.scopeA, sides.scopeB);
  const a = scope === undefined ? [] : inWindow(sides, scoped(sides.elementsA, scope));
  const b = scope === undefined ? [] : inWindow(sides, scoped(sides.elementsB, scope));
  return missing('A', a, b, dialogue.sendA) ?? missing('B', b, a, dialogue.sendB);
}

function missing(
  side: string,
  own: readonly StockElement[],
  other: readonly StockElement[],
  sent: SyncIdList,
): string | undefined {
  const there = new Set(other.map(({ id }) => toHex(hashOf(id))));
  const found = new Set(hashes(sent));
  const lost = own.map(({ id }) => toHex(hashOf(id))).filter((hash) => !there.has(hash) && !found.has(hash));
  return lost.length > 0 ? `${side} does not find ${lost.length} of its own: ${lost[0]}` : undefined;
}

function scoped(elements: readonly StockElement[], scope: Scope): StockElement[] {
  return elements.filter((element) => inScope(scope, element.pubsubTopic, element.contentTopic));
}

function inWindow(sides: Sides, elements: readonly StockElement[]): StockElement[] {
  return elements.filter(({ id }) => timeOf(id) >= sides.lowerNs && timeOf(id) <= sides.upperNs);
}

function hashes(list: SyncIdList): string[] {
  return Array.from({ length: list.count }, (_, row) => toHex(hashOf(list.at(row))));
}
