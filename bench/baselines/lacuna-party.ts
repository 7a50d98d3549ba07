/** Lacuna's engine on the Waku wire as one side of a dialogue, to be set against the stock policy. */
import type { RangesPayload } from '../../src/core/range.ts';
import type { RangeIndex } from '../../src/core/range-index.ts';
import {
  acceptOpening,
  openingClaims,
  type ReconcilePolicy,
  reconcileStep,
} from '../../src/core/reconcile.ts';
import { EVERYTHING, intersectScopes, type Scope } from '../../src/core/scope.ts';
import { boundAt } from '../../src/core/sync-id.ts';

import type { Party } from './stock-nwaku.ts';

/** `indexOf` gives the ids of a scope, so that a narrower peer is compared on what both cover. */
export function lacunaParty(
  indexOf: (scope: Scope) => RangeIndex,
  policy: ReconcilePolicy,
  window: { lowerNs: bigint; upperNs: bigint },
  scope: Scope = EVERYTHING,
  probablyEqual = false,
): Party {
  let index = indexOf(scope);
  let opened = false;
  return {
    open() {
      opened = true;
      const lower = boundAt(window.lowerNs);
      return payload(openingClaims(index, lower, boundAt(window.upperNs), policy, probablyEqual));
    },
    answer(incoming) {
      const narrowed = intersectScopes(scope, incoming);
      const empty = reconcileStep(index, [], policy);
      if (narrowed === undefined) return { payload: undefined, send: empty.have, receive: empty.need };
      index = indexOf(narrowed);
      const claims = opened ? incoming.claims : acceptOpening(index, incoming.claims);
      opened = true;
      const step = reconcileStep(index, claims, policy);
      return { payload: payload(step.reply), send: step.have, receive: step.need };
    },
  };

  function payload(claims: RangesPayload['claims']): RangesPayload {
    return { ...scope, claims };
  }
}
