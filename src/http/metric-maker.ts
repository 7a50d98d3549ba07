/** Makes metrics of one registry: one line each. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export class MetricMaker {
  readonly #registers: Registry[];

  constructor(registry: Registry) {
    this.#registers = [registry];
  }

  gauge<L extends string>(name: string, help: string, ...labelNames: L[]): Gauge<L> {
    return new Gauge({ name: `lacuna_${name}`, help, labelNames, registers: this.#registers });
  }

  counter<L extends string>(name: string, help: string, ...labelNames: L[]): Counter<L> {
    return new Counter({ name: `lacuna_${name}`, help, labelNames, registers: this.#registers });
  }

  histogram<L extends string>(
    name: string,
    help: string,
    buckets: number[],
    ...labelNames: L[]
  ): Histogram<L> {
    return new Histogram({ name: `lacuna_${name}`, help, buckets, labelNames, registers: this.#registers });
  }
}
