/** Two stores and the native protocol between them: whatever they hold, both hold all of it afterwards, and say so. */
import { describe, expect, it } from 'vitest';
import { samples } from '../../sample-messages.ts';
import { HOUR, hashes, Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';

describe('a native session', () => {
  it('makes two stores equal, and both sides say so', async () => {
    const clock = new VirtualClock();
    const messages = samples(400);
    const a = new Party('a', clock, { messages: messages.slice(0, 300) });
    const b = new Party('b', clock, { messages: messages.slice(100) });
    const result = await clock.run(a.native.synchronise(a.linkTo(b), HOUR));
    expect(result).toMatchObject({
      have: 100,
      need: 100,
      received: 100,
      sent: 100,
      missing: 0,
      verified: true,
    });
    expect(a.holdings).toEqual(hashes(messages));
    expect(b.holdings).toEqual(hashes(messages));
    await clock.runOut();
    expect(b.ended).toMatchObject([
      { error: undefined, result: { role: 'responder', verified: true, received: 100 } },
    ]);
  });
});
