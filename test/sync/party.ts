/** A node without a network or a disk: all of src/sync over a store in memory, linked to others by channels in memory. */
import { EVERYTHING, type Scope } from '../../src/core/scope.ts';
import type { LacunaError } from '../../src/errors.ts';
import type { FrameChannel, PeerLink, StoredMessage } from '../../src/ports.ts';
import { Ingest } from '../../src/sync/ingest.ts';
import { Session, type SessionPlan, type SessionResult } from '../../src/sync/session.ts';
import { SessionTable } from '../../src/sync/session-table.ts';
import { Strikes } from '../../src/sync/strikes.ts';
import { Synchroniser } from '../../src/sync/synchroniser.ts';
import { TransferReceiver } from '../../src/sync/transfer.ts';
import { systemSha256 } from '../../src/system.ts';
import { MemoryStore } from '../memory-store.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { hexOf, NOW_NS } from '../sample-messages.ts';
import { MemoryChannel } from './memory-channel.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** The hour of the sample messages. */
export const HOUR: SessionPlan = {
  scope: EVERYTHING,
  sinceNs: NOW_NS - 3_600_000_000_000n,
  untilNs: NOW_NS + 1_000_000_000n,
  direction: 'both',
  dryRun: false,
};

export interface PartyInit {
  readonly messages?: readonly StoredMessage[];
  readonly scope?: Scope;
}

export class Party {
  readonly name: string;
  readonly clock: VirtualClock;
  readonly store: MemoryStore;
  readonly sessions: SessionTable;
  readonly strikes: Strikes;
  readonly log = new RecordingLogger();
  readonly receiver: TransferReceiver;
  readonly synchroniser: Synchroniser;
  /** Every session that ended here, in this order. */
  readonly ended: { result: SessionResult; error: LacunaError | undefined }[] = [];

  constructor(name: string, clock: VirtualClock, { messages = [], scope = EVERYTHING }: PartyInit = {}) {
    this.name = name;
    this.clock = clock;
    this.store = new MemoryStore(messages);
    this.sessions = new SessionTable(clock);
    this.strikes = new Strikes(clock);
    const { store, sessions, strikes, log } = this;
    const ingest = new Ingest(store, clock, systemSha256);
    this.receiver = new TransferReceiver(ingest, store, sessions, strikes, log);
    this.synchroniser = new Synchroniser({
      store,
      sessions,
      strikes,
      clock,
      log,
      scope,
      random: { below: (below) => Math.floor(below / 2) },
      onSession: (result, error) => this.ended.push({ result, error }),
    });
  }

  /** The other party as this one sees it: a Lacuna, or a stock node. The other one always sees a Lacuna. */
  linkTo(other: Party, isLacuna = true): PeerLink {
    const open = (serve: (channel: FrameChannel) => Promise<void>): FrameChannel => {
      const [here, there] = MemoryChannel.pair(this.clock);
      void serve(there);
      return here;
    };
    return {
      peer: other.name,
      isLacuna,
      openReconciliation: async () =>
        open((channel) => other.synchroniser.serve(other.linkTo(this), channel)),
      openTransfer: async () => open((channel) => other.receiver.receive(this.name, channel)),
    };
  }

  /** A session with another party, in virtual time. */
  async synchronise(other: Party, plan: Partial<SessionPlan> = {}, isLacuna = true): Promise<SessionResult> {
    const link = this.linkTo(other, isLacuna);
    return await this.clock.run(this.synchroniser.synchronise(link, { ...HOUR, ...plan }));
  }

  /** A session that is open in the table and takes messages, without a reconciliation. */
  openSession(peer: string, plan: Partial<SessionPlan> = {}): Session {
    const session = new Session(peer, 'initiator', { ...HOUR, ...plan }, this.store, this.clock);
    this.sessions.add(session);
    return session;
  }

  /** Gives these frames to the receiver as one transfer stream; returns the peer's end when it is over. */
  async take(peer: string, frames: readonly Uint8Array[]): Promise<MemoryChannel> {
    const [here, there] = MemoryChannel.pair(this.clock);
    await there.write(frames);
    await there.close();
    await this.clock.run(this.receiver.receive(peer, here));
    return there;
  }

  /** What it holds, as sorted text. */
  get holdings(): string[] {
    return hashes(this.store.messages);
  }

  get lastError(): string | undefined {
    return this.ended.at(-1)?.error?.code;
  }
}

export function hashes(messages: readonly StoredMessage[]): string[] {
  return messages.map(hexOf).sort();
}
