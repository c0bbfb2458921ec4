// A composable for Vue: `const stream = useStream("/events", { topics: ["orders/7"] });`, then `stream.event` and others.

/** @import { StreamState, WatchOptions } from "./watch.js" */
// @ts-ignore: the program has Vue
import { shallowReactive, toValue, watchEffect } from "vue";
import { BEGIN, watch } from "./watch.js";

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
export function useStream(url, options = {}) {
  const state = shallowReactive({ ...BEGIN });
  watchEffect((/** @type {(close: () => void) => void} */ onCleanup) => {
    Object.assign(state, BEGIN);
    onCleanup(watch(toValue(url), toValue(options), (next) => Object.assign(state, next)));
  });
  return state;
}
