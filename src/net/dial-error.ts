/** Why a peer could not be dialled, in the codes of this system. */
import { LacunaError, toLacunaError } from '../errors.ts';

/** libp2p says the same of many failures; what an operator needs is told apart by name and text. */
export function dialError(error: unknown, address: string): LacunaError {
  const { message } = toLacunaError(error);
  const names = errorNames(error);
  if (names.includes('UnexpectedPeerError') || OTHER_IDENTITY.test(message)) {
    return new LacunaError('PEER_IDENTITY', `another node answers at ${address}`, { cause: error });
  }
  return new LacunaError('PEER_UNREACHABLE', `${address}: ${message}`, { cause: error });
}

/** libp2p wraps what noise found into an error of its own and keeps the text only. */
const OTHER_IDENTITY = /does not match expected remote identity key|expected peer|wrong peer/i;

function errorNames(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const inner = error instanceof AggregateError ? error.errors.flatMap(errorNames) : [];
  return [error.name, ...inner, ...errorNames(error.cause)];
}
