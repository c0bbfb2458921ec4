/**
 * The user of a source. Reading pauses until the promise of `take` resolves. If `failed` returns true, the source
 * continues even after a final failure.
 *
 * @typedef {object} Sink
 * @property {() => void} opened
 * @property {(blocks: Block[], origin: string) => unknown} take
 * @property {(failure: Failure) => unknown} failed
 */
/**
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
export function ownSource(request: StreamRequest, sink: Sink): {
    role: string;
    /** Whether a connection is open. */
    live: boolean;
    /** How long the server may be silent, in milliseconds; 0 means forever. */
    timeout: number;
    readonly lastEventId: string;
    /** @param {string} lastEventId */
    start(lastEventId: string): void;
    stop(): void;
    /** Reconnect without reporting a failure. */
    restart(): void;
    /** End a wait between attempts, and check whether an open connection is alive. */
    retryNow(): void;
    hide(): void;
};
/**
 * The user of a source. Reading pauses until the promise of `take` resolves. If `failed` returns true, the source
 * continues even after a final failure.
 */
export type Sink = {
    opened: () => void;
    take: (blocks: Block[], origin: string) => unknown;
    failed: (failure: Failure) => unknown;
};
import type { StreamRequest } from "./request.js";
import type { Block } from "./decoder.js";
import type { Failure } from "./events.js";
