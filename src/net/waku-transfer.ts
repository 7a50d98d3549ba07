/** Serves `/vac/waku/transfer/1.0.0`: each inbound stream brings messages, one a frame, with no answer. */
import { LIMITS } from '../limits.ts';
import type { TransferReceiver } from '../sync/waku/transfer.ts';
import type { Host } from './host.ts';
import { TRANSFER } from './protocols.ts';

export async function serveTransfer(host: Host, receiver: TransferReceiver): Promise<void> {
  await host.serve(TRANSFER, LIMITS.transferFrameBytes, async (connection, channel) => {
    await receiver.receive(connection.remotePeer.toString(), channel);
  });
}
