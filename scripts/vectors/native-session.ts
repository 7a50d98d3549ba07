/**
 * A recorded session between two Lacunas. It passes when every frame is read and written again alike, the key follows
 * from the salts, two engines over the recorded messages say the recorded payloads, and what the frames bring are the
 * messages that the other side lacks.
 */
import { z } from 'zod';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { KeyedSums } from '../../src/core/keyed-sums.ts';
import type { NativePayload } from '../../src/core/native/payload.ts';
import { NativeReconciler } from '../../src/core/native/reconciler.ts';
import { boundAt, makeId, SyncIdList } from '../../src/core/sync-id.ts';
import { decodeNativeFrame, encodeNativeFrame } from '../../src/wire/native-frames.ts';
import { decodeMessageAndTopic } from '../../src/wire/waku-message.ts';
import { sha256 } from './message-hash.ts';
import { type CaseResult, decimal, fromHex, hexString, runCase, toHex } from './shared.ts';

const side = z.enum(['initiator', 'responder']);

export const nativeSessionFile = z.object({
  nativeSession: z.object({
    description: z.string(),
    sinceNs: decimal,
    untilNs: decimal,
    /** WakuMessageAndTopic, and what it hashes to. */
    messages: z.array(
      z.object({ time: decimal, hash: hexString, encoded: hexString, heldBy: z.array(side) }),
    ),
    key: hexString,
    agreement: hexString,
    frames: z.array(z.object({ from: side, kind: z.string(), hex: hexString })).min(1),
  }),
});

type Recording = z.infer<typeof nativeSessionFile>['nativeSession'];

export function checkNativeSession({ nativeSession }: z.infer<typeof nativeSessionFile>): CaseResult[] {
  const { frames } = nativeSession;
  return [
    ...frames.map(({ kind, hex }, at) =>
      runCase(`frame ${at}: ${kind}`, () => {
        const frame = decodeNativeFrame(fromHex(hex));
        return faultUnless(frame.kind === kind && toHex(encodeNativeFrame(frame)) === hex);
      }),
    ),
    runCase('key', () => faultUnless(toHex(keyOf(nativeSession)) === nativeSession.key)),
    runCase('agreement', () => faultUnless(toHex(agreementOf(nativeSession)) === nativeSession.agreement)),
    runCase('payloads', () => faultUnless(saysThePayloads(nativeSession))),
    runCase('messages', () => faultUnless(bringsTheMessages(nativeSession))),
  ];
}

function faultUnless(isRight: boolean): string | undefined {
  return isRight ? undefined : 'differs';
}

function keyOf({ frames }: Recording): Uint8Array {
  const salts = frames
    .map(({ hex }) => decodeNativeFrame(fromHex(hex)))
    .flatMap((frame) => (frame.kind === 'hello' ? [frame.salt] : []));
  return sha256(Buffer.concat([Buffer.from('/lacuna/sync/1.0.0 key'), ...salts])).subarray(0, 16);
}

function agreementOf({ key }: Recording): Uint8Array {
  const label = Buffer.from('/lacuna/sync/1.0.0 agreement');
  return sha256(Buffer.concat([label, fromHex(key)])).subarray(0, 8);
}

/** Two engines, the responder's first, in turn. */
function saysThePayloads(recording: Recording): boolean {
  const key = new DataView(fromHex(recording.key).buffer);
  const words = Uint32Array.from({ length: 4 }, (_, word) => key.getUint32(word * 4, true));
  const engineOf = (holder: z.infer<typeof side>): NativeReconciler => {
    const held = recording.messages.filter(({ heldBy }) => heldBy.includes(holder));
    const ids = held.map(({ time, hash }) => makeId(BigInt(time), fromHex(hash)));
    return new NativeReconciler({
      index: DigestTree.from(SyncIdList.of(...ids)),
      lower: boundAt(BigInt(recording.sinceNs)),
      upper: boundAt(BigInt(recording.untilNs)),
      keyed: new KeyedSums(words),
    });
  };
  const engines = { initiator: engineOf('initiator'), responder: engineOf('responder') };
  const recorded = recording.frames.filter(({ kind }) => kind === 'payload');
  let next: NativePayload | undefined = engines.responder.open();
  for (const { from, hex } of recorded) {
    if (next === undefined || toHex(encodeNativeFrame({ kind: 'payload', payload: next })) !== hex)
      return false;
    next = engines[from === 'initiator' ? 'responder' : 'initiator'].step(next).reply;
  }
  return next === undefined;
}

function bringsTheMessages({ frames, messages }: Recording): boolean {
  const brought = frames.flatMap(({ from, hex }) => {
    const frame = decodeNativeFrame(fromHex(hex));
    if (frame.kind !== 'batch') return [];
    return frame.messages.map((message) => ({ from, encoded: toHex(message) }));
  });
  const owed = messages.filter(({ heldBy }) => heldBy.length === 1);
  return (
    brought.length === owed.length &&
    owed.every(({ time, encoded, heldBy }) => {
      const isBrought = brought.some((one) => one.from === heldBy[0] && one.encoded === encoded);
      return isBrought && decodeMessageAndTopic(fromHex(encoded)).timestamp === BigInt(time);
    })
  );
}
