/** The node's key: one file, readable by its owner alone, made once. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { LacunaError, systemCode } from './errors.ts';
import { writeDurably } from './store/durable-file.ts';

const FILE_NAME = 'identity.key';

/** @throws LacunaError STORE_MISSING when there is none, CONFIG_INVALID when it cannot be read as a key. */
export async function loadIdentity(directory: string): Promise<PrivateKey> {
  const path = join(directory, FILE_NAME);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') throw new LacunaError('STORE_MISSING', `no identity in ${directory}`);
    throw new LacunaError('IO', `${path} cannot be read`, { cause: error });
  }
  try {
    return privateKeyFromProtobuf(bytes);
  } catch (error) {
    throw new LacunaError('CONFIG_INVALID', `${path} is not a libp2p private key`, { cause: error });
  }
}

export async function loadOrCreateIdentity(directory: string): Promise<PrivateKey> {
  try {
    return await loadIdentity(directory);
  } catch (error) {
    if (!(error instanceof LacunaError) || error.code !== 'STORE_MISSING') throw error;
  }
  const key = await newIdentity();
  await writeDurably(join(directory, FILE_NAME), privateKeyToProtobuf(key), 0o600);
  return key;
}

/** One that nobody knows yet, and that is kept nowhere. */
export async function newIdentity(): Promise<PrivateKey> {
  return await generateKeyPair('Ed25519');
}

export function peerIdOf(key: PrivateKey): string {
  return peerIdFromPrivateKey(key).toString();
}
