/**
 * Who is told. `take` may hold up the reading by its promise; `failed` says whether to go on after all.
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
    /** How long the server may be silent, in milliseconds; 0 is as long as it likes. */
    patience: number;
    readonly lastEventId: string;
    /** @param {string} lastEventId */
    start(lastEventId: string): void;
    stop(): void;
    /** Connect anew, and tell nobody. */
    restart(): void;
    /** Something changed: do not wait to try again, and look whether the connection lives. */
    hurry(): void;
    hide(): void;
};
/**
 * Who is told. `take` may hold up the reading by its promise; `failed` says whether to go on after all.
 */
export type Sink = {
    opened: () => void;
    take: (blocks: Block[], origin: string) => unknown;
    failed: (failure: Failure) => unknown;
};
import type { StreamRequest } from "./request.js";
import type { Block } from "./decoder.js";
import type { Failure } from "./events.js";
