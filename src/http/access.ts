/**
 * Who may ask a node over HTTP. Without a token: programs of this machine, over the loopback interface. With one:
 * whoever sends it, from anywhere. Never a page in a browser.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { LacunaError, systemCode } from '../errors.ts';

export interface TokenSettings {
  readonly httpToken?: string | undefined;
  readonly httpTokenFile?: string | undefined;
}

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', '::1', 'localhost']);
/** What a header carries unchanged. */
const TOKEN = /^[\x21-\x7e]{16,1024}$/;

/** The token of these settings, if they name one. @throws LacunaError CONFIG_INVALID. */
export async function loadToken({ httpToken, httpTokenFile }: TokenSettings): Promise<string | undefined> {
  if (httpToken !== undefined && httpTokenFile !== undefined)
    throw new LacunaError('CONFIG_INVALID', 'httpToken and httpTokenFile are both set: keep one');
  const name = httpTokenFile === undefined ? 'httpToken' : `httpTokenFile ${httpTokenFile}`;
  const token = httpTokenFile === undefined ? httpToken : (await textOf(httpTokenFile)).trim();
  if (token === undefined || TOKEN.test(token)) return token;
  throw new LacunaError(
    'CONFIG_INVALID',
    `${name}: a token is 16 to 1,024 letters, digits and signs of ASCII, without spaces`,
  );
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const reason = systemCode(error) === 'ENOENT' ? 'there is no such file' : 'it cannot be read';
    throw new LacunaError('CONFIG_INVALID', `httpTokenFile ${file}: ${reason}`, { cause: error });
  }
}

export class Access {
  readonly #digest: Buffer | undefined;

  constructor(token: string | undefined) {
    this.#digest = token === undefined ? undefined : digestOf(token);
  }

  /**
   * A page in a browser can reach a loopback port, under its own origin or, by rebinding its name, under none. The
   * one carries an Origin header; the other a Host that is not a loopback name, or, where a token is asked for, none
   * of that. Probes of a supervisor need no token.
   *
   * @throws LacunaError HTTP_FORBIDDEN, HTTP_UNAUTHORIZED.
   */
  admit(headers: IncomingHttpHeaders, isProbe: boolean): void {
    if (headers.origin !== undefined) throw new LacunaError('HTTP_FORBIDDEN', 'the request is of a web page');
    if (this.#digest === undefined) {
      const host = (headers.host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
      if (!LOOPBACK.has(host))
        throw new LacunaError('HTTP_FORBIDDEN', 'the request does not come from this machine');
    } else if (!isProbe && !this.#holds(this.#digest, headers.authorization)) {
      throw new LacunaError('HTTP_UNAUTHORIZED', 'the request carries no token, or another one');
    }
  }

  /** Where to listen. @throws LacunaError CONFIG_INVALID. */
  placeOf(hostAndPort: string): { host: string; port: number } {
    const match = /^(.+):(\d{1,5})$/.exec(hostAndPort);
    const host = match?.[1]?.replace(/^\[|\]$/g, '') ?? '';
    const port = Number(match?.[2]);
    if (match === null || port > 65_535)
      throw new LacunaError('CONFIG_INVALID', `http: '${hostAndPort}' is not HOST:PORT or off`);
    if (this.#digest === undefined && !LOOPBACK.has(host)) {
      throw new LacunaError(
        'CONFIG_INVALID',
        `http: ${host} can be reached from other machines, so a token is needed: set httpTokenFile, or listen on 127.0.0.1`,
      );
    }
    return { host, port };
  }

  /** Digests are compared, so that neither the time nor the length tells anything of the token. */
  #holds(digest: Buffer, authorization: string | undefined): boolean {
    const given = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
    return given !== undefined && timingSafeEqual(digest, digestOf(given));
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
