/**
 * The state of a stream, which is open as long as the component is there. Where the URL or the options are a ref or a
 * getter, a change opens a new stream.
 *
 * @template T
 * @typedef {T | { readonly value: T } | (() => T)} OrRef
 */
/**
 * @param {OrRef<string | URL>} url
 * @param {OrRef<WatchOptions>} [options]
 * @returns {Readonly<StreamState>}
 */
export function useStream(url: OrRef<string | URL>, options?: OrRef<WatchOptions>): Readonly<StreamState>;
/**
 * The state of a stream, which is open as long as the component is there. Where the URL or the options are a ref or a
 * getter, a change opens a new stream.
 */
export type OrRef<T> = T | {
    readonly value: T;
} | (() => T);
import type { WatchOptions } from "./watch.js";
import type { StreamState } from "./watch.js";
