/** Amounts of bytes as people write them: a number, or one with a unit. */
const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};
const AMOUNT = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i;

/** Bytes, or undefined when the text is no amount of them. A bare number is bytes. */
export function parseBytes(text: string): number | undefined {
  const match = AMOUNT.exec(text.trim());
  const unit = UNITS[(match?.[2] || 'b').toLowerCase()];
  return match === null || unit === undefined ? undefined : Math.round(Number(match[1]) * unit);
}
