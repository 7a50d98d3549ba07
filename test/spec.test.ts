/** What can be checked of the protocol pages is: their numbers, their codes, and their worked example. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { lacunaParty } from '../bench/baselines/lacuna-party.ts';
import { runDialogue } from '../bench/baselines/stock-nwaku.ts';
import { toHex } from '../scripts/vectors/shared.ts';
import { DigestTree } from '../src/core/digest-tree.ts';
import { messageHash, type WakuMessage } from '../src/core/message.ts';
import { NATIVE_POLICY } from '../src/core/native/policy.ts';
import { WAKU_POLICY } from '../src/core/reconcile.ts';
import { makeId, SyncIdList } from '../src/core/sync-id.ts';
import { ERROR_CODES } from '../src/errors.ts';
import { LIMITS } from '../src/limits.ts';
import { errorOf } from '../src/sync/native/refusal.ts';
import { encodeFrames } from '../src/wire/frame.ts';
import { REFUSAL_REASONS, type RefusalReason } from '../src/wire/native-frame.ts';
import { encodeMessageAndTopic } from '../src/wire/waku-message.ts';
import { decodeRanges, encodeRanges } from '../src/wire/waku-ranges.ts';
import { recordSession } from './sync/native/recorded-session.ts';

const read = (name: string): string => readFileSync(new URL(`../spec/${name}`, import.meta.url), 'utf8');
const page = read('waku-sync.md');
/** Codes that only a session between two Lacunas can end in. */
const NATIVE_ONLY = new Set(['SESSION_WINDOW', 'TRANSFER_NOT_ASKED', 'TRANSFER_OVER_CREDIT']);
/** What stands between fences, without the spaces that make it readable. */
const blocks = [...page.matchAll(/^```\n(.*?)^```/gms)].map(([, block]) => block!.replaceAll(/\s/g, ''));

describe('spec/waku-sync.md', () => {
  it('gives every limit it names its number', () => {
    let checked = 0;
    for (const [, names, numbers] of page.matchAll(/^\| ((?:`\w+`(?:, )?)+) *\| (\d[\d, ]*)\|/gm)) {
      const values = numbers!.split(',').map((number) => Number(number.replaceAll(' ', '')));
      for (const [index, name] of names!.replaceAll('`', '').split(', ').entries()) {
        expect([name, LIMITS[name as keyof typeof LIMITS]]).toEqual([name, values[index]]);
        checked += 1;
      }
    }
    expect(checked).toBeGreaterThan(25);
  });

  it('names only codes that exist, and every one of the wire, the session and the transfer', () => {
    const named = new Set([...page.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code]) => code!));
    expect([...named].filter((code) => !(code in ERROR_CODES))).toEqual([]);
    const due = Object.keys(ERROR_CODES).filter((code) => /^(WIRE|SESSION|TRANSFER)_/.test(code));
    expect(due.filter((code) => !named.has(code) && !NATIVE_ONLY.has(code))).toEqual([]);
  });

  it('describes the policy that is used', () => {
    const { listItems, openingParts, partItems, fingerprintSpanNs } = WAKU_POLICY;
    const { echoItems, replyItems, replyRanges } = WAKU_POLICY;
    expect([listItems, openingParts, partItems, fingerprintSpanNs]).toEqual([16, 32, 1300, 8]);
    expect([echoItems, replyItems, replyRanges]).toEqual([200_000, 400_000, 80_000]);
    for (const text of [
      'at most 16',
      'up to 2600',
      'about 1300 ids',
      'under 8 ns',
      'past 200 000 ids',
      'than 400 000 ids',
      'at most 400 000 ids',
      'about 80 000 ranges',
      'up to 32 ranges',
    ]) {
      expect(page).toContain(text);
    }
  });

  it('shows the bytes of its example as they are', () => {
    const startNs = 1_787_184_000_000_000_000n;
    const messages = ['one', 'two', 'three'].map(
      (name, index): WakuMessage => ({
        pubsubTopic: '/waku/2/rs/16/32',
        contentTopic: '/app/1/chat/proto',
        payload: new TextEncoder().encode(name),
        timestamp: startNs + BigInt(index + 1) * 60_000_000_000n,
        version: 0,
        ephemeral: false,
        meta: new Uint8Array(0),
        rateLimitProof: new Uint8Array(0),
      }),
    );
    const hashes = messages.map((message) =>
      messageHash(message, (bytes) => createHash('sha256').update(bytes).digest()),
    );
    for (const [index, message] of messages.entries()) {
      expect(page).toContain(`${message.timestamp}  ${toHex(hashes[index]!)}`);
    }
    const party = (...held: number[]) => {
      const tree = DigestTree.from(
        SyncIdList.of(...held.map((at) => makeId(messages[at]!.timestamp, hashes[at]!))),
      );
      const window = { lowerNs: startNs, upperNs: startNs + 3_600_000_000_000n };
      return lacunaParty(() => tree, WAKU_POLICY, window, {
        pubsubTopics: ['/waku/2/rs/16/32'],
        contentTopics: [],
      });
    };
    const { steps } = runDialogue(party(0, 1), party(0, 2), encodeRanges, decodeRanges);
    expect(steps.map(({ bytes }) => bytes.length)).toEqual([67, 116, 116, 1]);
    for (const { bytes } of steps) expect(blocks).toContain(toHex(bytes));
    expect(blocks).toContain(toHex(encodeFrames([encodeMessageAndTopic(messages[1]!)])));
  });
});

describe('the pages of spec/', () => {
  it('are all in its index', () => {
    const index = read('README.md');
    const pages = readdirSync(new URL('../spec', import.meta.url)).filter((name) => name !== 'README.md');
    expect(pages.filter((name) => !index.includes(`(${name}`))).toEqual([]);
  });
});

describe('spec/native-reconciliation.md', () => {
  const native = read('native-reconciliation.md');

  it('gives every limit its number', () => {
    const rows = [...native.matchAll(/^\| `(\w+)` \| (\d[\d ]*) \|$/gm)];
    const told = rows.map(([, name, number]) => [name, Number(number!.replaceAll(' ', ''))]);
    const limits = Object.entries(NATIVE_POLICY).filter(([name]) => name.endsWith('Max'));
    expect(told.sort()).toEqual(limits.sort());
  });

  it('names only codes that exist', () => {
    const named = new Set([...native.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code]) => code!));
    expect(named.size).toBeGreaterThan(5);
    expect([...named].filter((code) => !(code in ERROR_CODES))).toEqual([]);
  });

  it('describes the policy that is used', () => {
    const { openingParts, cutParts, partIdsMin, listIds, oneSidedIds, oneSidedFactor } = NATIVE_POLICY;
    expect([openingParts, cutParts, partIdsMin, listIds, oneSidedIds, oneSidedFactor]).toEqual([
      24, 16, 8, 16, 128, 12,
    ]);
    const { refineAbove, refineParts, sketchSymbols, sketchGrowth, sketchGrowthMin } = NATIVE_POLICY;
    expect([refineAbove, refineParts, sketchSymbols, sketchGrowth, sketchGrowthMin]).toEqual([
      3_000, 256, 3_800, 1.6, 32,
    ]);
    expect([NATIVE_POLICY.keyedIds, NATIVE_POLICY.keyedSpotIds]).toEqual([200_000, 40_000]);
    for (const text of [
      '24 parts of about equal counts',
      'fewer ≤ 16, or fewer ≤ 128 and drift ≥ 12 fewer',
      'up to 16 parts of at least 8 ids',
      'past 3800 symbols',
      'extended to 1.6 times the symbols and 32 more',
      'More than 3000 differences are looked at through 256 finer parts',
      'up to 200 000 ids',
      'else 40 000 ids',
    ]) {
      expect(native.replaceAll(/\s+/g, ' ')).toContain(text);
    }
  });
});

describe('spec/native-sync.md', () => {
  const native = read('native-sync.md');

  it('gives every limit of the protocol its number', () => {
    const rows = [...native.matchAll(/^\| `(\w+)` \| (\d[\d ]*) \|$/gm)];
    const told = new Map(rows.map(([, name, number]) => [name!, Number(number!.replaceAll(' ', ''))]));
    for (const [name, number] of told)
      expect([name, LIMITS[name as keyof typeof LIMITS]]).toEqual([name, number]);
    const due = Object.keys(LIMITS).filter((name) => name.startsWith('native') && !OUR_CHOICE.has(name));
    expect(due.filter((name) => !told.has(name))).toEqual([]);
  });

  it('names only codes that exist, and those that only it knows', () => {
    const named = new Set([...native.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code]) => code!));
    expect([...named].filter((code) => !(code in ERROR_CODES))).toEqual([]);
    expect([...NATIVE_ONLY].filter((code) => !named.has(code))).toEqual([]);
  });

  it('tells the reasons of refusals in the order of their numbers, with their codes', () => {
    const rows = [...native.matchAll(/^\| (\d) \| (\w+)[^|]*\| `(\w+)` \|$/gm)];
    expect(rows.map(([, number]) => Number(number))).toEqual([...REFUSAL_REASONS.keys()]);
    for (const [, number, reason, code] of rows) {
      expect(reason).toBe(REFUSAL_REASONS[Number(number)]);
      const refusal = { kind: 'refuse', reason: reason as RefusalReason, retryAfterMs: 0 } as const;
      expect(errorOf(refusal).code).toBe(code);
    }
  });

  it('shows the session that two stores have, byte for byte, as do its vectors', async () => {
    const { frames, result } = await recordSession();
    expect(result).toMatchObject({ received: 1, sent: 1, missing: 0, verified: true, rounds: 3 });
    const shown = [...native.matchAll(/^(→|←) .*\n((?: {4}[0-9a-f]+\n)+)/gm)];
    const hex = frames.map(({ from, frame }) => [from === 'initiator' ? '→' : '←', toHex(frame)]);
    expect(shown.map(([, arrow, lines]) => [arrow, lines!.replaceAll(/\s/g, '')])).toEqual(hex);
    const vector = JSON.parse(read('vectors/native-session.json')) as {
      nativeSession: { frames: { hex: string }[]; key: string; agreement: string };
    };
    expect(vector.nativeSession.frames.map((frame) => frame.hex)).toEqual(hex.map(([, bytes]) => bytes));
    for (const text of [vector.nativeSession.key, vector.nativeSession.agreement])
      expect(native).toContain(text);
  });
});

/** Limits that the other side never sees. */
const OUR_CHOICE = new Set([
  'nativeParts',
  'nativeFirstWants',
  'nativeBusyMs',
  'nativeAheadMs',
  'nativePatienceMs',
  'nativeLeaveMs',
]);
