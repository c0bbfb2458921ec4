/** @import { StreamEvent } from "./events.js" */
/**
 * Return what a loop iterates over: `push` gives it an event, `end` ends it after the events that it still has.
 *
 * @param {number} limit
 * @param {() => void} changed called when there may be room again, and when the loop is left
 */
export function eventQueue(limit: number, changed: () => void): {
    over: boolean;
    full: () => boolean;
    /** @param {StreamEvent} event */
    push(event: StreamEvent): void;
    /** @param {Error} [error] */
    end(error?: Error): void;
    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    next(): Promise<IteratorResult<StreamEvent>>;
    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    return(): Promise<IteratorResult<StreamEvent>>;
    [Symbol.asyncIterator]: () => /*elided*/ any;
};
import type { StreamEvent } from "./events.js";
