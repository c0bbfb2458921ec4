/** @import { StreamEvent } from "./events.js" */
/**
 * Return an iterator for a loop. `push` adds an event; `end` ends the loop after the events in the queue.
 *
 * @param {number} limit
 * @param {() => void} changed called when an event was read, and when the loop is left
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
