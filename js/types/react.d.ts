/**
 * The state of a stream, which is open as long as the component is there. A new URL or new options open a new stream;
 * functions among the options stay those of the first call.
 *
 * @param {string | URL} url
 * @param {WatchOptions} [options]
 * @returns {StreamState}
 */
export function useStream(url: string | URL, options?: WatchOptions): StreamState;
import type { WatchOptions } from "./watch.js";
import type { StreamState } from "./watch.js";
