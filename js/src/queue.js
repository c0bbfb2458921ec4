// The events that a `for await` loop has not read yet.

/** @import { StreamEvent } from "./events.js" */

/**
 * Return an iterator for a loop. `push` adds an event; `end` ends the loop after the events in the queue.
 *
 * @param {number} limit
 * @param {() => void} changed called when an event was read, and when the loop is left
 */
export function eventQueue(limit, changed) {
  /** @type {StreamEvent[]} */
  let events = [];
  /** @type {Error | undefined} */
  let failure;
  let wake = () => {};

  const self = {
    over: false,

    full: () => events.length >= limit,

    /** @param {StreamEvent} event */
    push(event) {
      events.push(event);
      wake();
    },

    /** @param {Error} [error] */
    end(error) {
      self.over = true;
      failure = error;
      wake();
    },

    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    async next() {
      while (!events.length && !self.over) await new Promise((/** @type {any} */ done) => (wake = done));
      const value = events.shift();
      changed();
      if (failure && !value) throw failure;
      return value ? { done: false, value } : { done: true, value };
    },

    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    async return() {
      events = [];
      self.end();
      changed();
      return { done: true, value: undefined };
    },

    [Symbol.asyncIterator]: () => self,
  };
  return self;
}
