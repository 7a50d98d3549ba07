/** What all streams together may hold: each may ask for a share, and gives it back. */
export class ByteBudget {
  readonly #bytesMax: number;
  #used = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Changes a share from one size to another; false when it does not fit, and then nothing has changed. */
  change(from: number, to: number): boolean {
    const used = this.#used - from + to;
    if (to > from && used > this.#bytesMax) return false;
    this.#used = used;
    return true;
  }
}
