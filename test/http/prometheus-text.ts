/** Reads the text that Prometheus scrapes. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** @throws Error for a line that is no sample: Prometheus would refuse the whole scrape. */
export function samplesOf(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const match = SAMPLE.exec(line);
      if (match === null) throw new Error(`not a sample: ${line}`);
      const labels = [...(match[2] ?? '').matchAll(LABEL)].map(([, name, value]) => [name!, value!] as const);
      const written = labels.map(([name, value]) => `${name}="${value}"`).join(',');
      if (written !== (match[2] ?? '')) throw new Error(`not labels: ${line}`);
      return { name: match[1]!, labels: Object.fromEntries(labels), value: Number(match[3]) };
    });
}

/** Every name that a query may use, those of a histogram's parts included. */
export function namesOf(text: string): Set<string> {
  const names = new Set<string>();
  for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    if (type === 'histogram') for (const part of ['bucket', 'sum', 'count']) names.add(`${name}_${part}`);
    else names.add(name!);
  }
  return names;
}
