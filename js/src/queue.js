// The events that a `for await` loop has not taken yet.

/** @import { StreamEvent } from "./events.js" */

/**
 * Return what a loop iterates over: `push` gives it an event, `end` ends it after the events that it still has.
 *
 * @param {number} limit
 * @param {() => void} changed called when there may be room again, and when the loop is left
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
