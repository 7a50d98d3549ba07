/** Why a side ends a session, as the other one is told, and what that means to the one who is told. */
import { type ErrorCode, LacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { RefusalReason, RefuseFrame } from '../../wire/native-frame.ts';

/** Of an error that knows no better time, those who meet a place that is taken are asked to come again soon. */
export function refusalOf({ code, retryAfterMs }: LacunaError): RefuseFrame {
  const reason = reasonOf(code);
  const soonMs = reason === 'busy' ? LIMITS.nativeRetryMs : 0;
  return { kind: 'refuse', reason, retryAfterMs: Math.ceil(retryAfterMs ?? soonMs) };
}

/** The other side has said why it ends: there is nobody to answer. */
export class PeerRefusal extends LacunaError {}

export function errorOf({ reason, retryAfterMs }: RefuseFrame): PeerRefusal {
  const [code, text] = MEANINGS[reason];
  const when = retryAfterMs > 0 ? `; it asks to be tried again in ${Math.ceil(retryAfterMs / 1_000)} s` : '';
  return new PeerRefusal(code, `${text}${when}`, {
    retryAfterMs: retryAfterMs > 0 ? retryAfterMs : undefined,
  });
}

function reasonOf(code: ErrorCode): RefusalReason {
  const known = REASONS[code];
  if (known !== undefined) return known;
  if (code.startsWith('STORE_')) return 'fault';
  return code.startsWith('WIRE_') || code.startsWith('TRANSFER_') ? 'protocol' : 'internal';
}

const REASONS: Readonly<Partial<Record<ErrorCode, RefusalReason>>> = {
  SESSION_BUSY: 'busy',
  SESSION_SCOPE: 'scope',
  SESSION_WINDOW: 'window',
  SESSION_BUDGET: 'budget',
  SESSION_ABORTED: 'stopping',
  PEER_BANNED: 'banned',
  PEER_TIMEOUT: 'timeout',
};

const MEANINGS: Readonly<Record<RefusalReason, readonly [ErrorCode, string]>> = {
  internal: ['PEER_CLOSED', 'the peer met a defect of its own'],
  busy: ['PEER_BUSY', 'the peer has too much to do'],
  scope: ['SESSION_SCOPE', 'the peer covers other topics'],
  window: ['SESSION_WINDOW', 'the peer keeps nothing of the window'],
  fault: ['PEER_FAULT', 'the store of the peer is at fault'],
  banned: ['PEER_REFUSED', 'the peer has banned this node for a while'],
  protocol: ['PEER_REFUSED', 'the peer says that this node broke the protocol'],
  budget: ['PEER_REFUSED', 'the peer says that the session used up its budget'],
  stopping: ['PEER_CLOSED', 'the peer stops'],
  timeout: ['PEER_CLOSED', 'the peer gave up waiting for this node'],
};
