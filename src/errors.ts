/**
 * The one error class and the one table of codes. A code never changes its meaning; tests and scripts
 * match codes, never texts. The second column tells the reader what to do.
 */
export const ERROR_CODES = {
  // What the operator typed or configured
  USAGE: 'See `lacuna COMMAND --help`.',
  CONFIG_INVALID: 'Correct the named setting; `lacuna config validate` checks a file.',
  IO: 'Check that the file exists and may be read or written.',
  // A message that may not be stored
  MESSAGE_TOO_LARGE: 'The payload is over the limit of 14/WAKU2-MESSAGE; no peer would relay it.',
  MESSAGE_META_TOO_LONG: 'The meta attribute may hold 64 bytes at most.',
  MESSAGE_PROOF_TOO_LONG: 'The rate limit proof is over the limit.',
  MESSAGE_TOPIC_INVALID: 'A topic is too long, or not text that can be written as bytes.',
  MESSAGE_TIMESTAMP_INVALID: 'A stored message needs a timestamp of 1 to 2^63-1 ns since 1970.',
  MESSAGE_TIMESTAMP_FUTURE: 'The timestamp lies in the future; check the clock of its sender and your own.',
  MESSAGE_VERSION_INVALID: 'The version must fit 32 bits.',
  MESSAGE_EPHEMERAL: 'Ephemeral messages are never stored.',
  MESSAGE_HASH_MISMATCH: 'The message does not hash to the identity it was given under.',
  // A line of an import
  LINE_INVALID_JSON: 'The line is not a JSON object.',
  LINE_INVALID_FIELD: 'A field of the line is missing or has the wrong type.',
  LINE_TOO_LONG: 'The line is longer than any message can be.',
  // Bytes from a peer
  WIRE_TRUNCATED: 'The bytes end before the value does.',
  WIRE_VARINT: 'A variable-length integer is malformed or out of range.',
  WIRE_OVERFLOW: 'A time or length is beyond 2^63-1.',
  WIRE_TYPE: 'A type byte or flag is not one of the protocol.',
  WIRE_FIELD_MISSING: 'A required field is absent.',
  WIRE_FIELD_INVALID: 'A field holds a value the protocol forbids.',
  WIRE_FRAME_TOO_LARGE: 'A frame announces more bytes than the protocol allows.',
  WIRE_LENGTH_PREFIX: 'A length prefix does not end.',
  WIRE_LIMIT: 'A payload holds more elements than the limit.',
  WIRE_UNENCODABLE: 'The value cannot be expressed in this protocol.',
  // The store
  STORE_LOCKED: 'Another process has this data folder open: stop it, or use another --data.',
  STORE_MISSING: 'There is no store here: `lacuna init` makes one.',
  STORE_FORMAT: 'The store was written by another version of Lacuna.',
  STORE_DAMAGED: 'Run `lacuna verify --repair`; what is lost can be fetched from peers with `lacuna sync`.',
  STORE_FAULT: 'Nothing is written until the store was reopened, or its index built anew; try again shortly.',
  STORE_CLOSED: 'The store is closed.',
  MESSAGE_UNKNOWN:
    'It never came here, or is older than what is kept; `lacuna gaps` says where messages may be missing.',
  STORE_BUSY: 'More is waiting to be written than the limit; try again shortly.',
  // A query of the history
  QUERY_CURSOR: 'Nothing is known of the message that the cursor names: ask by time, or from the beginning.',
  // Peers and sessions
  PEER_ADDRESS_INVALID: 'A peer is a multiaddr that ends in /p2p/<peer id>.',
  PEER_UNREACHABLE: 'Check the address, and that the node there is running.',
  PEER_IDENTITY: 'Another node than the named one answered at this address.',
  PEER_PROTOCOL: 'The peer does not speak a protocol that can synchronise.',
  PEER_CLUSTER: 'The peer serves another cluster; see --cluster-id.',
  PEER_CLOSED: 'The peer ended the session before it was complete.',
  PEER_TIMEOUT: 'The peer did not answer in time.',
  PEER_BANNED: 'The peer broke the protocol too often; it may try again later.',
  SESSION_BUSY: 'The limit of sessions is reached; try again shortly.',
  PEER_BUSY: 'The peer has reached a limit of its own; try again after the time it names, or another peer.',
  PEER_FAULT: 'The store of the peer is at fault; try again later, or another peer.',
  PEER_REFUSED: 'The peer ended the session for what this node did; its log says more.',
  SESSION_WINDOW: 'The peer keeps no messages of that time; see --since and --until.',
  SESSION_ROUNDS: 'The peer did not come to an end within the round limit.',
  SESSION_BUDGET: 'The session used up its budget of bytes, items or time.',
  SESSION_SCOPE: 'The peer covers none of the topics asked for.',
  SESSION_ABORTED: 'The session was stopped.',
  // Store queries asked
  QUERY_REFUSED:
    'The peer does not answer this query; the status that it gave, and its reason, stand beside the code.',
  QUERY_RATE_LIMITED: 'The peer is asked too often; try again after a while, or ask another peer.',
  QUERY_UNENDING: 'The pages of the peer do not come to an end: it is at fault; ask another peer.',
  QUERY_PULL_ONLY: 'A peer that can only be asked takes nothing: use --direction pull.',
  QUERY_TOPICS: 'So many topics take too many requests: name fewer, or whole pubsub topics.',
  // Transfers refused
  TRANSFER_NO_SESSION: 'Messages are taken only from a peer with a session open or just ended.',
  TRANSFER_OUT_OF_SCOPE: 'The message is of a topic that the session does not cover.',
  TRANSFER_OUT_OF_WINDOW: 'The message lies outside the time that the session covers.',
  TRANSFER_TOO_LARGE: 'The message does not fit the frame that the peer accepts.',
  TRANSFER_NOT_ASKED: 'The message was not asked for in this session.',
  TRANSFER_OVER_CREDIT: 'The peer sends or offers more than it was given room for.',
  TRANSFER_NOT_WANTED: 'The session does not take messages (dry run, or direction push).',
  // Store queries
  QUERY_INVALID: 'The query contradicts itself or is over a limit; the text says how.',
  // The HTTP interface
  HTTP_NOT_FOUND: 'There is no such path.',
  HTTP_METHOD: 'The path does not take this method.',
  HTTP_UNAUTHORIZED: 'The node asks for its token: name it with --http-token-file, or LACUNA_HTTP_TOKEN.',
  HTTP_FORBIDDEN: 'Requests are taken from this machine only, and not from web pages.',
  HTTP_BODY_TOO_LARGE: 'The body is over the limit; send fewer messages at once.',
  HTTP_BUSY: 'The limit of event streams, counts or explanations is reached; end one, or try again shortly.',
  NODE_STARTING: 'The node does not serve yet; try again shortly.',
  NODE_STOPPING: 'The node is being stopped.',
  INTERNAL: 'This is a defect of Lacuna: please report it with the log.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

export class LacunaError extends Error {
  readonly code: ErrorCode;
  /** When it is worth trying again, if somebody said so. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options?: { cause?: unknown; retryAfterMs?: number | undefined },
  ) {
    super(message, options);
    this.name = 'LacunaError';
    this.code = code;
    this.retryAfterMs = options?.retryAfterMs;
  }

  /** What the reader can do about it. */
  get remedy(): string {
    return ERROR_CODES[this.code];
  }
}

/** Any thrown value as a LacunaError; what is not one of ours gets the given code. */
export function toLacunaError(thrown: unknown, code: ErrorCode = 'INTERNAL'): LacunaError {
  if (thrown instanceof LacunaError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new LacunaError(code, text, { cause: thrown });
}

/** The `code` property that Node and LevelDB put on their errors, if there is one. */
export function systemCode(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERROR_CODES, text);
}
