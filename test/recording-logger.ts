/** A log that keeps what it is told, so that a test can ask for codes. */
import type { Logger } from '../src/ports.ts';

export class RecordingLogger implements Logger {
  readonly lines: { level: string; fields: Record<string, unknown>; text: string }[] = [];

  debug(fields: object, text: string): void {
    this.#keep('debug', fields, text);
  }

  info(fields: object, text: string): void {
    this.#keep('info', fields, text);
  }

  warn(fields: object, text: string): void {
    this.#keep('warn', fields, text);
  }

  error(fields: object, text: string): void {
    this.#keep('error', fields, text);
  }

  /** The codes told at this level, in order. */
  codes(level: 'debug' | 'info' | 'warn' | 'error'): unknown[] {
    return this.lines.filter((line) => line.level === level).map(({ fields }) => fields['code']);
  }

  #keep(level: string, fields: object, text: string): void {
    this.lines.push({ level, fields: { ...fields }, text });
  }
}
