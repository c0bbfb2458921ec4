// A hook for React: `const { status, error, event, events } = useStream("/events", { topics: ["orders/7"] });`

/** @import { StreamState, WatchOptions } from "./watch.js" */
// @ts-ignore: the program has React
import { useEffect, useState } from "react";
import { BEGIN, watch } from "./watch.js";

/**
 * The state of a stream, which is open as long as the component is there. A new URL or new options open a new stream;
 * functions among the options stay those of the first call.
 *
 * @param {string | URL} url
 * @param {WatchOptions} [options]
 * @returns {StreamState}
 */
export function useStream(url, options = {}) {
  const [state, setState] = useState(BEGIN);
  useEffect(() => {
    setState(BEGIN);
    return watch(url, options, setState);
  }, [String(url), JSON.stringify(options)]);
  return state;
}
