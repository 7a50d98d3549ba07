/** Input of a request, held against a schema. */
import { z } from 'zod';
import { LacunaError } from '../errors.ts';
import { parseJson } from '../wire/message-line.ts';

/** A parameter stands in a query once. @throws LacunaError USAGE. */
export function readQuery<T>(schema: z.ZodType<T>, query: URLSearchParams): T {
  const entries = [...query];
  const given = Object.fromEntries(entries);
  if (Object.keys(given).length < entries.length)
    throw new LacunaError('USAGE', 'a parameter is given more than once');
  return held(schema, given);
}

/** @throws LacunaError LINE_INVALID_JSON, USAGE. */
export function readBody<T>(schema: z.ZodType<T>, body: string): T {
  return held(schema, parseJson(body));
}

function held<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new LacunaError('USAGE', z.prettifyError(parsed.error));
  return parsed.data;
}
