import { it } from 'vitest';
import { Session } from 'node:inspector/promises';
import { writeFileSync } from 'node:fs';
import { Fleet } from './fleet.ts';
import { trouble } from './troubles.ts';
it('profiles', async () => {
  const s = new Session(); s.connect(); await s.post('Profiler.enable'); await s.post('Profiler.start');
  const t0 = Date.now();
  for (let seed = 1; seed < 6; seed++) {
  const fleet = new Fleet({ seed, size: 5, intervalMs: 60_000, rangeMs: 3_600_000, skewMs: 20_000 });
  await fleet.start(...fleet.nodes);
  await trouble(fleet, 3_600_000);
  await fleet.end();
  console.log(Date.now() - t0);
  }
  const { profile } = await s.post('Profiler.stop');
  const self = new Map<string, number>();
  const dt = profile.timeDeltas!; const byId = new Map(profile.nodes.map((n) => [n.id, n]));
  profile.samples!.forEach((id, i) => { const n = byId.get(id)!; const k = `${n.callFrame.functionName} ${n.callFrame.url.split('/').slice(-2).join('/')}:${n.callFrame.lineNumber}`; self.set(k, (self.get(k) ?? 0) + dt[i]!); });
  writeFileSync('/tmp/prof.txt', [...self].sort((a, b) => b[1] - a[1]).slice(0, 30).map(([k, v]) => `${(v / 1000).toFixed(0)}ms ${k}`).join('\n'));
});
