/**
 * Open a stream and call `set` with each new state; return the function that closes it.
 *
 * @param {string | URL} url
 * @param {WatchOptions} options
 * @param {(state: StreamState) => void} set
 */
export function watch(url: string | URL, { keep, ...options }: WatchOptions, set: (state: StreamState) => void): () => void;
/**
 * @typedef {object} StreamState
 * @property {"connecting" | "open" | "closed"} status
 * @property {StreamError | null} error why there is no connection; null while there is one
 * @property {StreamEvent | null} event the newest event
 * @property {StreamEvent[]} events the newest events, the oldest first
 *
 * @typedef {Options & { keep?: number }} WatchOptions `keep`: the number of events in `events`, 100 if it is not given
 */
/** @type {StreamState} */
export const BEGIN: StreamState;
export type StreamState = {
    status: "connecting" | "open" | "closed";
    /**
     * why there is no connection; null while there is one
     */
    error: StreamError | null;
    /**
     * the newest event
     */
    event: StreamEvent | null;
    /**
     * the newest events, the oldest first
     */
    events: StreamEvent[];
};
/**
 * `keep`: the number of events in `events`, 100 if it is not given
 */
export type WatchOptions = Options & {
    keep?: number;
};
import type { StreamError } from "./events.js";
import type { StreamEvent } from "./events.js";
import type { Options } from "./stream.js";
