/** Tests match error codes, never texts: what a call ended in, as a code. */
import { type ErrorCode, LacunaError } from '../src/errors.ts';

/** The code of the error the call throws, or undefined when it returns. Any other error is passed on. */
export function codeOf(run: () => unknown): ErrorCode | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (error instanceof LacunaError) return error.code;
    throw error;
  }
}
