/**
 * Every limit of the system, in one table. A loop, a queue, a frame, a peer or a wait that is not bounded
 * by an entry of this table is a defect. Bytes unless the name says otherwise.
 */
const KIB = 1024;
const MIB = 1024 * KIB;

export const LIMITS = {
  // A message: 14/WAKU2-MESSAGE, 64/WAKU2-NETWORK (150 KiB), nwaku's MaxMetaAttrLength
  messagePayloadBytes: 150 * KIB,
  messageMetaBytes: 64,
  messageProofBytes: 4 * KIB,
  messageTopicBytes: 1 * KIB,
  /** A message from the network may be this far ahead of our clock (13/WAKU2-STORE: 20 s). */
  messageFutureMs: 20_000,
  /** A file is the operator's own; its clock may be in another time zone, not in another year. */
  importFutureMs: 24 * 3_600_000,

  // Frames
  /** One transfer frame: the largest message with its topics and protobuf overhead. */
  transferFrameBytes: 150 * KIB + 8 * KIB,
  /** What a running nwaku accepts as one transfer frame; a larger one ends its stream. */
  nwakuTransferFrameBytes: 150 * KIB,
  /** nwaku sends item sets of any size in one frame; 34 MB were seen at 10,000 differences in a million. */
  reconciliationFrameBytes: 32 * MIB,
  metadataFrameBytes: 1 * KIB,
  metadataShards: 1_024,
  /** Bytes of a length prefix: 5 carry 2^35, more than any frame. */
  framePrefixBytes: 5,
  /** Frames are gathered into writes of this size: single small writes reach a tenth of the throughput. */
  sendChunkBytes: 256 * KIB,
  /** Bytes received on a stream and not yet taken; beyond it the stream is paused. */
  streamUnreadBytes: 1 * MIB,
  /** Bytes of frames that have not arrived whole or were not taken: free for each stream, and of all beyond that. */
  streamFreeBytes: 256 * KIB,
  streamsHeldBytes: 64 * MIB,
  /** A stream that we have closed waits so long for the peer to close its side. */
  streamLingerMs: 30_000,
  /** A frame may take its time beyond a time-out only while it comes at this rate: 32 kB a second. */
  streamBytesPerMsMin: 32,

  // A reconciliation payload
  payloadTopics: 1_000,
  payloadRanges: 200_000,
  payloadItems: 800_000,
  /** Parts of ranges, and answers to them, in one payload between two Lacunas. */
  nativeParts: 100_000,
  /** One frame between two Lacunas, of any kind. */
  nativeFrameBytes: 8 * MIB,
  /** Ids that one frame offers. */
  nativeOfferIds: 1_024,
  /** A batch of messages is filled up to this size. */
  nativeBatchBytes: 256 * KIB,
  /** A batch may be larger than that by its last message, and never than this. */
  nativeBatchBytesMax: 512 * KIB,

  // A store query
  storeQueryRequestBytes: 1 * MIB,
  /** A page of 100 of the largest messages, as nwaku gives at most. */
  storeQueryResponseBytes: 16 * MIB,
  storeQueryTopics: 1_000,
  storeQueryHashes: 10_000,
  storeQueryMessages: 10_000,
  storeQueryTextBytes: 1 * KIB,
  // A store query that is served
  /** Messages on a page that nobody gave a size, and the most of any: as nwaku has them. */
  storeQueryPage: 20,
  storeQueryPageMax: 100,
  /** What a page may hold, so that clients which read frames of 4 MiB can read it; one message it holds in any case. */
  storeQueryPageBytes: 3 * MIB,
  storeQueryContentTopics: 100,
  storeQueryHashesAsked: 1_000,
  /** Pages without a message that can be read are passed over, so many at a time. */
  storeQueryPagesLooked: 8,
  /** A question for which more entries are looked at counts as so many times one. */
  storeQueryEntries: 1_000,
  /** Queries that are being answered, until their answer has been taken; of all and of one peer. */
  storeQueriesAtOnce: 32,
  storeQueriesAtOncePerPeer: 4,
  /** Clients open a stream ahead of its use. */
  storeQueryIdleMs: 30_000,
  /** The answer has been read and taken by then. */
  storeQueryMs: 30_000,

  // Asking a store node
  /** Requests to one peer: clients of go-waku keep to this, and stores count on it. */
  queryRequestsPerSecond: 7,
  /** nwaku gives no more in one answer. */
  queryPageSize: 100,
  /** Hashes looked up at once: nwaku over Postgres answers exactly 100 of them, or 200, with messages at random. */
  queryLookUpHashes: 50,
  /** Content topics in one request: from the second page on, nwaku refuses more. */
  queryContentTopics: 10,
  /** Requests that one page of a scope of several topics may be put together from. */
  queryParts: 64,
  queryReadMs: 30_000,
  /** A peer that does not close its side after its answer has the stream reset after this. */
  queryLingerMs: 500,
  /** A request that meets a limit or a broken stream is sent again; the pause doubles from one try to the next. */
  queryTries: 6,
  queryBackOffMs: 1_000,
  queryBackOffMaxMs: 30_000,
  /** Pages without a message, but with a cursor, one after the other. */
  queryEmptyPages: 8,
  /** Answers to look-ups that cannot be read, one after the other: a message that is broken is found in seven. */
  queryUnreadable: 16,
  /** Pages of one walk: a hundred million messages. */
  queryPages: 1_000_000,
  /** Peers whose rate of requests is remembered. */
  queryPeers: 1_000,
  /** The first slice of a window that is listed; the next is longer after one with few hashes, shorter after many. */
  querySliceMs: 3_600_000,
  querySliceSparse: 1_000,
  querySliceDense: 20_000,
  /** Own ids that a slice is compared with. */
  querySliceIds: 20_000,
  /** At seven requests a second, the hashes of a million messages take 24 minutes, and a million messages 50. */
  querySessionMs: 6 * 3_600_000,

  // A session
  sessionRounds: 40,
  sessionPasses: 4,
  sessionBytes: 256 * MIB,
  sessionItems: 2_000_000,
  /** Ids that all sessions together hold. */
  sessionsItems: 2_500_000,
  sessionMs: 30 * 60_000,
  sessionReadMs: 30_000,
  /** A peer that owes us named messages and falls silent for this long has stopped. */
  transferIdleMs: 10_000,
  /** A peer that may push without having named anything, and is silent for this long, has nothing more. */
  unnamedIdleMs: 2_000,
  /** A session that ended takes late messages for this long. */
  sessionGraceMs: 30_000,
  /** The window ends this far in the past: relay is still delivering what is newer. */
  sessionJitterMs: 20_000,
  /** The range that a stock nwaku synchronises, unless configured otherwise. */
  stockSyncRangeMs: 3_600_000,
  sessionsPerPeer: 4,
  sessions: 32,
  /** Where all are taken, one that was silent for this long may be ended for a new one. */
  sessionYieldMs: 2_000,
  refusalCodesLogged: 5,

  /** Pauses between periodic sessions; a timer of Node holds 24 days, and one beyond fires at once. */
  syncIntervalMinMs: 100,
  syncIntervalMaxMs: 14 * 24 * 3_600_000,
  // A session between two Lacunas
  /** Ids offered that the other side may still ask for. */
  nativeOffersOpen: 16_384,
  /** Ids asked for that have not come. */
  nativeWantedIds: 4_096,
  /** Messages sent that are not yet acknowledged as durable. */
  nativeWindowBytes: 4 * MIB,
  /** What a session asks for before it knows how large messages are. */
  nativeFirstWants: 16,
  /** A peer is asked for no more than it brings in this time. */
  nativeAheadMs: 2_000,
  /** Ids of each side that a session tells of that only lists them. */
  listedIds: 1_000_000,
  /** A session with nothing else to ask for takes over, after this, what others were asked for and have not brought. */
  nativePatienceMs: 5_000,
  /** It ends when nothing comes for `sessionReadMs`; this bounds one that always brings a little. */
  nativeSessionMs: 6 * 3_600_000,
  /** A side that waits for others, and has sent nothing for this long, says that it is still there. */
  nativeAliveMs: 10_000,
  /** So long a session that breaks tries to tell the other side why, and waits for what is being written. */
  nativeLeaveMs: 2_000,
  /** Who is turned away because too much is going on is asked to come back after so long. */
  nativeRetryMs: 5_000,
  /** A batch that finds the store's queue full is brought again after this. */
  nativeBusyMs: 50,
  /** At a rate below this, a batch would take longer than a peer waits. */
  rateBytesMin: 32_000,
  /** A key that two peers agreed under is used again for this long. */
  agreementKeyMs: 24 * 3_600_000,
  /** Peers of which the sums under their keys are kept in memory. */
  agreementsHeld: 64,

  /** First pause after a failed session with a configured peer; doubles up to the interval. */
  retryMs: 1_000,
  /** After a verified session, a peer is probably still equal for this long: one fingerprint opens the next. */
  agreementMs: 3_600_000,

  // The ledger of gaps, and the scheduler
  /** Gaps on the ledger; with more, the oldest are made one. */
  gaps: 1_000,
  /** Gaps that were closed, and intervals that were verified, that are remembered. */
  gapsRemembered: 100,
  verificationsRemembered: 200,
  /** Peers that are remembered to have a gap of their own in one of this node's. */
  gapWitnesses: 64,
  /** Intervals in a hello. */
  helloGaps: 64,
  /** How often the node looks whether it still runs, has peers, and can write; and how often it writes that down. */
  pulseMs: 1_000,
  heartbeatMs: 10_000,
  /** A node that was held for longer than this has missed something. */
  heldMs: 10_000,
  /** A node without any peer for longer than this has missed something. */
  alonePatienceMs: 30_000,
  /** Messages may carry the time of a clock that is off by so much: gaps are wider by it on both sides. */
  clockToleranceMs: 20_000,
  /** A peer whose clock differs by more is reported. */
  clockSkewMs: 5 * 60_000,
  /** Sessions that the scheduler runs at a time, and peers that share a gap. */
  scheduledSessions: 4,
  gapPeers: 3,
  /** One that goes on for longer leaves its place to another; of all, the last `scheduledSessions` to configured peers. */
  lastingSessionMs: 60_000,
  scheduledSessionsMax: 12,
  /** Peers that are asked in one look at the recent past, as long as each of them has or lacks something. */
  roundPeers: 3,
  /** A gap that one peer has been filling for this long is shared. */
  gapShareMs: 2_000,
  /** Every 4,096th look at the recent past is one at everything. */
  historyDoublings: 12,
  /** A peer that fails is left alone for at most four intervals, and no longer than this. */
  backOffMaxMs: 10 * 60_000,
  /** A peer that could not close a gap is asked about it again after this; doubles up to `gapRetryMaxMs`. */
  gapRetryMs: 5_000,
  gapRetryMaxMs: 6 * 3_600_000,
  /** Messages that were named and not brought, and peers that were asked for one, that are remembered. */
  missingRemembered: 1_000,
  missingPeers: 16,
  /** Peers in the directory. */
  peersKnown: 1_000,
  /** A peer is asked for others no more often than this. */
  peersAskedMs: 3_600_000,

  // Audits
  /** At one time, and the nodes that one asks at a time. */
  audits: 2,
  auditNodes: 100,
  auditNodesAtOnce: 8,
  /** Own ids that one listing of hashes is held against, and what of a node is fetched to learn its time. */
  auditPartIds: 20_000,
  auditFetched: 100_000,
  /** A window in which too much differs for one session is halved so many times. */
  auditSplits: 6,
  auditRows: 20_000,
  /** Rows times nodes. */
  auditFigures: 200_000,
  /** Ids in which all nodes together differ from this one. */
  auditIds: 4_000_000,
  /** Messages that are named, and of these, whose topics are asked for. */
  auditListed: 10_000,
  auditTopicsAsked: 1_000,
  /** What is missing and this young may be on its way. */
  auditLateMs: 60_000,
  auditsRemembered: 500,
  /** Between two of a series, at the least. */
  auditPauseMs: 1_000,
  /** A node that was not audited for so long is none of the fleet any more, to the metrics. */
  auditShownMs: 7 * 24 * 3_600_000,

  // Peers
  strikesBeforeBan: 200,
  banMs: 10 * 60_000,
  peersRemembered: 10_000,
  /** What one peer may cause here, as much at once as in the whole of its time. Streams of any protocol. */
  peerRequestsPerSecond: 100,
  peerSessionsPerMinute: 1_200,
  /** Store queries of one peer, and of all strangers together: a page costs a few milliseconds. */
  peerQueriesPerMinute: 1_200,
  queriesPerSecond: 200,
  /** What dear questions of all strangers may cost, counted in cheap ones; cheap ones go on when it is used up. */
  dearQueriesPerMinute: 10_000,
  /** Entries of topics that are read to compare a scope, for one stranger and for all: some 4 us of a core each. */
  peerScopeEntriesPerMinute: 2_000_000,
  scopeEntriesPerMinute: 4_000_000,
  /** While that goes on it rests as long as it works, but no longer at a time than this. */
  scopeRestMs: 50,
  /** Ids of scopes that sessions hold, beyond which strangers begin no further one; some 70 bytes each. */
  sessionsIndexed: 1_000_000,
  /** What it pushes without having been asked for it, as the Waku wire allows. */
  peerUnaskedMessagesPerHour: 200_000,
  peerUnaskedBytesPerHour: 2 * 1_024 * MIB,
  /** Thirty days of a busy network fit into this, at 18 MiB a second. */
  peerServedBytesPerHour: 64 * 1_024 * MIB,
  /** What libp2p notes of one peer, and of all. */
  peerNoteBytes: 64 * KIB,
  peerNotesBytes: 16 * MIB,
  /** One peer's places among the connections. */
  connectionsPerPeer: 8,
  /** Addresses that one peer tells another, the length of each, and of all with their lengths. */
  peerListAddresses: 32,
  peerAddressBytes: 256,
  peerListFrameBytes: 1 + 32 * (2 + 256),
  peerListMs: 5_000,
  /** Addresses that are taken of one peer that tells of itself. */
  peerOwnAddresses: 8,
  connections: 300,
  connectionsPerSecondPerHost: 50,
  connectionsPending: 100,
  /** Handshakes under way with one host, and how long one may take: silent sockets must not keep others out. */
  connectionsPendingPerHost: 16,
  handshakeMs: 5_000,
  streamsPerConnection: 64,
  streamsPerProtocol: 8,
  /**
   * Streams that one mplex connection opens, and messages it sends for streams that are gone, before it is given up. Its
   * own limit is 5, and js-waku opens a stream for every page; streams of a peer are counted where all of them are.
   */
  mplexEventsPerSecond: 1_000,
  streamWindowBytes: 4 * MIB,
  streamReadBufferBytes: 8 * MIB,
  /** A connection is held while a stream has more than this that nobody has taken: mplex resets it at 4 MiB. */
  streamUntakenBytes: 512 * KIB,
  /** What one message of a WebSocket may hold: an encrypted packet is of 64 KiB, and a write may be of some. */
  webSocketMessageBytes: 1 * MIB,
  dialMs: 10_000,
  metadataMs: 5_000,
  stopMs: 8_000,

  // The store
  writeGroupMessages: 1_000,
  writeGroupBytes: 4 * MIB,
  writeGroupDelayMs: 5,
  /** Appends of so few do not wait behind larger ones. */
  writePromptMessages: 16,
  writeQueueMessages: 20_000,
  writeQueueBytes: 64 * MIB,
  /** The share of a group that larger ones get while some of these wait. */
  writeYieldingShare: 0.25,
  /** The share of the queue that appends of more than `writePromptMessages` may fill. */
  writeBulkShare: 0.75,
  reopenDelayMs: 200,
  reopenDelayMaxMs: 10_000,
  readBatchMessages: 100,
  /** What is looked up at once, and as much again ahead of it. */
  readBatchBytes: 512 * KIB,
  iteratorBytes: 1 * MIB,
  /** Ways by which messages came, each with its peer, that are told apart; beyond it the peer is not told. */
  origins: 10_000,
  /** A record beside the messages. */
  recordNameBytes: 256,
  recordBytes: 64 * KIB,

  // The history of the store, read in pages
  /** Entries of topics that one page looks at; a page that has to pass more by ends short, and says where to go on. */
  archiveEntries: 100_000,
  /** Ends of pages that are remembered for when their message is pruned: some 6 MB. */
  archiveCursors: 50_000,

  // The index of the store
  /** Rows and symbols of leaves in memory; what sessions under way still read is held beside it. */
  indexCacheBytes: 48 * MIB,
  /** Small additions to a page, before it is written whole again: a record of its own for each. */
  indexPatches: 16,
  /** Ids that come or go in a block, before its symbols are written again. */
  indexSymbolChanges: 4_096,
  /** Pubsub topics that are counted; with more, each scope is put together from the lists of its topics. */
  indexTopics: 4_096,
  /** The same of content topics; with more, counting by them walks through the entries of the messages. */
  indexContentTopics: 16_384,
  /** Characters of the names of topics that are remembered, so that they are not read again. */
  topicNamesLength: 1 * MIB,
  /** Ids that a batch of a rebuild writes, and how often it tells how far it is. */
  indexRebuildIds: 16_384,
  indexProgressMs: 5_000,

  // Retention
  /** Rules: that for all messages, and those for topics. */
  retentionRules: 1_001,
  /** The least that the store may be told to be on the disk: the log and what is being compacted take their share. */
  retentionSizeMin: 16_000_000,
  retentionPassMs: 60_000,
  /** After a newer message came to a topic of which only the latest is kept, and after a pass that failed. */
  retentionSoonMs: 500,
  retentionRetryMs: 1_000,
  /**
   * Pruned down to this much less than the cap, so that a pass has something to do; of the disk at least 16 MiB, or a
   * third, as LevelDB needs room to work in.
   */
  retentionSpare: 0.05,
  retentionSpareBytes: 16 * MIB,
  /** Messages, and bytes of them, that are removed before the disk gets their room back. */
  retentionSlice: 32_768,
  retentionSliceBytes: 64 * MIB,
  /** Less than this is not worth looking for on the disk, unless a cap presses. */
  retentionReclaimBytes: 4 * MIB,
  /** Ids of pruned messages that are not to be fetched again; with more, the oldest go. */
  forgottenIds: 1_000_000,
  /** Content topics that are known to have newer messages; with more, all of them are looked through. */
  retentionTopicsNoted: 10_000,
  /** What LevelDB compacts in one go: while it does, it takes in no more than a few times its write buffer. */
  compactionBytes: 32 * MIB,

  // Files and HTTP
  lineBytes: 320 * KIB,
  countBuckets: 1_000_000,
  httpBodyBytes: 8 * MIB,
  /** The line of a request and its headers: `storeQueryHashesAsked` hashes of a query, with commas that are escaped. */
  httpHeaderBytes: 80 * KIB,
  httpConnections: 64,
  httpRequestMs: 30_000,
  /** What asks for something to be done, and holds no messages. */
  httpCommandBytes: 64 * KIB,
  /** Open streams of events, what each may leave unread before it is cut off, and how often a silent one is told so. */
  httpEventStreams: 16,
  httpEventBytes: 1 * MIB,
  httpHeartbeatMs: 15_000,
  /** Counts over the store at one time, and the rows of one: all hours of more than two years. */
  httpCounts: 2,
  httpQueries: 8,
  httpCountRows: 20_000,
  /** Messages that are explained at one time: a hash that is not here is looked for among those that were pruned. */
  httpExplanations: 2,
  /** Sessions that are remembered after their end, to be shown. */
  sessionsShown: 100,
  /** Scopes that a metric tells apart, and the characters of one, or of a topic. */
  metricScopes: 16,
  /** Pubsub topics that a metric tells apart: those with the most messages. */
  metricTopics: 16,
  metricScopeLength: 200,
} as const;

export type Limits = { readonly [K in keyof typeof LIMITS]: number };
