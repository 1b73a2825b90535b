/** What the client of a registry is made from, and what it is asked for. */
import type { Credential, FindCredential } from "../content/credential.ts";
import type { Clock } from "../content/retry.ts";
import type { AppError } from "../errors.ts";
import type { ContentBody, Exchange } from "./http.ts";
import type { NetworkOptions } from "./network.ts";
import type { RateLimit } from "./rate-limit.ts";
import type { SchemeRules } from "./scheme.ts";

/** `plainHttp`: the user said that this registry may be spoken to in plain HTTP, credentials included. */
export interface ClientOptions extends NetworkOptions, SchemeRules {
  /** The credential for all of the registry, or how to find that for a repository. */
  readonly credential?: Credential | FindCredential | undefined;
  /** Transfers at a time; 8 if left out. */
  readonly concurrency?: number | undefined;
  /** Size of the chunks that large blobs are sent in, in bytes. */
  readonly chunkBytes?: number | undefined;
  /** A registry that asks us to come back in hours is waited for. */
  readonly waitsForRateLimit?: boolean | undefined;
  /** A registry that goes away in mid-run is waited for so long, in milliseconds; a minute if left out. */
  readonly patienceMs?: number | undefined;
  /** Where uploads are noted for later runs; nowhere if left out. */
  readonly stateFolder?: string | undefined;
  /** What earlier runs have noted there is read, and nothing is written. */
  readonly stateIsReadOnly?: boolean | undefined;
  readonly clock?: Clock | undefined;
  /** Told what else is of use to those who look for a fault: which credential is used. Never a secret. */
  readonly onNote?: ((message: string) => void) | undefined;
  /** Told of the limit on requests with every answer that tells one. */
  readonly onRateLimit?: ((rate: RateLimit) => void) | undefined;
  readonly onWarning?: ((message: string, hint?: string) => void) | undefined;
  readonly onRetry?: ((what: string, attempt: number, delayMs: number, cause: AppError) => void) | undefined;
}

/** A request to the registry, by path. */
export interface RegistryRequest {
  readonly method: Exchange["method"];
  /** Begins with `/v2/`, or the URL of an upload session. */
  readonly path: string | URL;
  readonly what: string;
  readonly scopes: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes can be sent again after a 401 or a broken connection; a stream cannot. */
  readonly body?: string | Uint8Array | ContentBody | undefined;
  /** The answer's body is a blob: it comes over a connection made for large bodies. */
  readonly blob?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Over a connection of its own, for content. */
  readonly fresh?: boolean;
  /** Milliseconds beyond the usual until the answer must begin: for what takes the registry long. */
  readonly extraMs?: number;
  /** Statuses that are answers, not failures. */
  readonly accept: readonly number[];
  /** Statuses that are answers where a redirect led elsewhere. */
  readonly acceptElsewhere?: readonly number[];
  /** False: one try only. */
  readonly retry?: boolean;
}

/** What is known of a request so far, over all of its tries. */
export interface Progress {
  challenged: boolean;
  /** How often a signed URL was refused. */
  expired: number;
  /** When it was sent last, on the client's clock. */
  sentMs: number;
  scopes: readonly string[];
  /** The registry has demanded more scopes than were asked for. */
  widened?: boolean;
}

/** What is known of a request that was not sent yet. */
export function beginning(scopes: readonly string[]): Progress {
  return { challenged: false, expired: 0, sentMs: 0, scopes };
}
