/** Tests match error codes, never texts: what a promise ended in, as a code. */
import { type ErrorCode, LacunaError } from '../src/errors.ts';

/** The code of the error that the promise rejects with, or undefined when it resolves. Any other error is passed on. */
export async function endedIn(promise: Promise<unknown>): Promise<ErrorCode | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof LacunaError) return error.code;
    throw error;
  }
}
