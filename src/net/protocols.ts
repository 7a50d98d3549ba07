/** The protocol ids of the wire. */
export const SYNC = '/lacuna/sync/1.0.0';
export const PEERS = '/lacuna/peers/1.0.0';
export const RECONCILIATION = '/vac/waku/reconciliation/1.0.0';
export const TRANSFER = '/vac/waku/transfer/1.0.0';
export const METADATA = '/vac/waku/metadata/1.0.0';
export const STORE_QUERY = '/vac/waku/store-query/3.0.0';
