/** How much there is of something: messages, and the bytes of them as they lie in the store. */
export interface Tally {
  messages: number;
  bytes: number;
}

export function addTo(tally: Tally, { messages, bytes }: Readonly<Tally>): Tally {
  tally.messages += messages;
  tally.bytes += bytes;
  return tally;
}

/** Whether there can be what the change leaves. */
export function isSound(held: Readonly<Tally> | undefined, change: Readonly<Tally>): boolean {
  const messages = (held?.messages ?? 0) + change.messages;
  const bytes = (held?.bytes ?? 0) + change.bytes;
  return messages === 0 ? bytes === 0 : messages > 0 && bytes > 0;
}

/** Whether nothing is left after the change. */
export function isSpent(held: Readonly<Tally>, change: Readonly<Tally>): boolean {
  return held.messages + change.messages === 0;
}

/** Adds to what a map has under a key. */
export function tallyIn<K>(tallies: Map<K, Tally>, key: K, messages: number, bytes: number): void {
  const tally = tallies.get(key);
  if (tally === undefined) {
    tallies.set(key, { messages, bytes });
  } else {
    tally.messages += messages;
    tally.bytes += bytes;
  }
}

/** Which counts there are. Without those of hours there are no others. */
export interface Known {
  readonly hours: boolean;
  readonly pubsub: boolean;
  readonly content: boolean;
}

export const NOTHING_KNOWN: Known = { hours: false, pubsub: false, content: false };
