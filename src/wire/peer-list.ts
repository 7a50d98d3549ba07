/** The one frame of `/lacuna/peers/1.0.0`: addresses of peers, as text (spec/peers.md). */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteReader, ByteWriter } from './bytes.ts';

const COUNT_BYTES_MAX = 5;

/** Whether an address can be told: graphic ASCII of a length within the limit. A multiaddr is nothing else. */
export function canBeTold(address: string): boolean {
  return address.length <= LIMITS.peerAddressBytes && GRAPHIC.test(address);
}

const GRAPHIC = /^[!-~]+$/;

/** @throws LacunaError WIRE_UNENCODABLE for too many of them, or one that cannot be told. */
export function encodePeerList(addresses: readonly string[]): Uint8Array {
  if (addresses.length > LIMITS.peerListAddresses || !addresses.every(canBeTold)) {
    throw new LacunaError('WIRE_UNENCODABLE', 'too many addresses, or one that is no multiaddr');
  }
  const writer = new ByteWriter();
  writer.leb(addresses.length);
  for (const address of addresses) {
    const bytes = Buffer.from(address, 'latin1');
    writer.leb(bytes.length);
    writer.raw(bytes);
  }
  return writer.finish();
}

/** Addresses as they were told: none of them is known to be one. @throws LacunaError with a WIRE_ code. */
export function decodePeerList(bytes: Uint8Array): string[] {
  const reader = new ByteReader(bytes);
  const count = reader.length(COUNT_BYTES_MAX, LIMITS.peerListAddresses);
  const addresses: string[] = [];
  for (let index = 0; index < count; index++) {
    const length = reader.length(COUNT_BYTES_MAX, LIMITS.peerAddressBytes);
    const address = Buffer.from(reader.take(length)).toString('latin1');
    if (!canBeTold(address)) throw new LacunaError('WIRE_FIELD_INVALID', 'an address is empty, or no ASCII');
    addresses.push(address);
  }
  if (reader.left > 0) throw new LacunaError('WIRE_FIELD_INVALID', 'bytes stand behind the last address');
  return addresses;
}
