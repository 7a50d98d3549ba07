/**
 * The bytes of reconciliation on the wire against the engine's own figures, over the sets of the reconcile bench: the
 * case `wire` of the sync bench. It has no sets to run over yet.
 */
import type { Report } from './report.ts';

export async function benchWire(_report: Report): Promise<void> {}
