/** Times as people write them: RFC 3339, `now`, a duration back from now, or ns since 1970 as a decimal. */
import { LacunaError } from './errors.ts';

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/;
const RFC_3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/;
const DAY = /^\d{4}-\d\d-\d\d$/;
const NS_PER_MS = 1_000_000n;
/** Times are signed 64-bit on the wire. */
const TIME_NS_MAX = 2n ** 63n - 1n;

/** Milliseconds, or undefined when the text is no duration. A bare number is seconds. */
export function parseDurationMs(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) * 1_000;
  const match = DURATION.exec(text);
  return match === null ? undefined : Number(match[1]) * UNITS_MS[match[2]!]!;
}

/** Nanoseconds since 1970; before it, nothing is. @throws LacunaError USAGE. */
export function parseTimeNs(text: string, nowMs: number): bigint {
  const timeNs = anyTimeNs(text, nowMs);
  if (timeNs > TIME_NS_MAX) throw new LacunaError('USAGE', `'${text}' is beyond the year 2262`);
  return timeNs < 0n ? 0n : timeNs;
}

function anyTimeNs(text: string, nowMs: number): bigint {
  const nowNs = BigInt(Math.round(nowMs)) * NS_PER_MS;
  if (text === 'now') return nowNs;
  if (/^\d+$/.test(text)) return BigInt(text);
  const backMs = DURATION.test(text) ? Math.round(parseDurationMs(text)!) : Number.NaN;
  if (Number.isFinite(backMs)) return nowNs - BigInt(backMs) * NS_PER_MS;
  if (DAY.test(text)) return anyTimeNs(`${text}T00:00:00Z`, nowMs);
  const match = RFC_3339.exec(text);
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}T${match[2]}${match[4]!.toUpperCase()}`);
  if (Number.isNaN(ms) || !isDay(match![1]!)) {
    throw new LacunaError(
      'USAGE',
      `'${text}' is not a time: use RFC 3339, now, a duration back (24h), or ns`,
    );
  }
  return BigInt(ms) * NS_PER_MS + BigInt((match![3] ?? '').padEnd(9, '0'));
}

/** Date.parse takes the 31st of any month, and makes it the 1st of the next. */
function isDay(day: string): boolean {
  return new Date(`${day}T00:00:00Z`).toISOString().startsWith(day);
}

/** RFC 3339 in UTC, with as many digits of a second as the time has. */
export function formatTimeNs(timeNs: bigint): string {
  const seconds = timeNs / 1_000_000_000n;
  const rest = (timeNs % 1_000_000_000n).toString().padStart(9, '0').replace(/0+$/, '');
  const whole = new Date(Number(seconds) * 1_000).toISOString().slice(0, 19);
  return `${whole}${rest === '' ? '' : `.${rest}`}Z`;
}

export function nsFromMs(ms: number): bigint {
  return BigInt(Math.round(ms)) * NS_PER_MS;
}

export const HOUR_NS = 3_600_000_000_000n;
const HOUR_MS = 3_600_000;

/** The hour since 1970 as `2026-11-21T15:00:00Z`. */
export function hourText(hour: number): string {
  return `${new Date(hour * HOUR_MS).toISOString().slice(0, 19)}Z`;
}
