/** Why a reconciliation with a peer is broken off. */
import { LacunaError } from '../../errors.ts';

export function misfit(what: string): LacunaError {
  return new LacunaError('WIRE_FIELD_INVALID', `a payload does not fit what was asked: ${what}`);
}

export function overBudget(what: string): LacunaError {
  return new LacunaError('SESSION_BUDGET', what);
}
