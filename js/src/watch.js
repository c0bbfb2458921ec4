// What the hooks for React and Vue share: a stream as one value that changes.

/** @import { Options } from "./stream.js" */
/** @import { StreamError, StreamEvent } from "./events.js" */
import { EventStream } from "./stream.js";

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
export const BEGIN = { status: "connecting", error: null, event: null, events: [] };

/**
 * Open a stream and call `set` with each new state; return the function that closes it.
 *
 * @param {string | URL} url
 * @param {WatchOptions} options
 * @param {(state: StreamState) => void} set
 */
export function watch(url, { keep = 100, ...options }, set) {
  let state = BEGIN;
  const change = (/** @type {Partial<StreamState>} */ to) => set((state = { ...state, ...to }));
  const stream = new EventStream(url, options);
  stream.onopen = () => change({ status: "open", error: null });
  stream.onerror = (error) => change({ status: error.final ? "closed" : "connecting", error });
  stream.addEventListener("*", ({ detail }) => change({ event: detail, events: [...state.events, detail].slice(-keep) }));
  return () => stream.close();
}
