// @ts-check
// The rows of a table, the newest of them: bounded by number and by bytes.

import { Deque } from "./deque.js";

/**
 * What happened on a stream.
 *
 * - `event`: an event; `block`: a block without data, which is not an event
 * - `comment`, `retry`: such a line, outside a block
 * - `open`, `end`, `error`: the connection
 *
 * @typedef {"event" | "block" | "comment" | "retry" | "open" | "end" | "error"} Kind
 *
 * @typedef {object} Row
 * @property {number} n the number of the row, from 1
 * @property {number} at when it came, in milliseconds since 1970
 * @property {number} wait milliseconds since the row before it
 * @property {Kind} kind
 * @property {string} type of an event; else what happened, in a word
 * @property {string} topic
 * @property {string} id
 * @property {string} text data, or words for people
 * @property {string} preview the beginning of the text, in one line
 * @property {Uint8Array} raw the bytes
 */

const MOST_ROWS = 50_000;
const MOST_BYTES = 64 * 1024 * 1024;

export class Ring {
  /** @type {Deque<Row>} */
  rows = new Deque();
  /** The number of the newest row that came. */
  total = 0;
  /** Rows that came since the ring was last cleared. */
  came = 0;
  #bytes = 0;

  /** The number of the oldest row that is kept. */
  get oldest() {
    return this.rows.at(0)?.n ?? this.total + 1;
  }

  /** @param {Row} row */
  push(row) {
    this.total = row.n;
    this.came += 1;
    this.rows.push(row);
    this.#bytes += cost(row);
    while (this.rows.length > MOST_ROWS || (this.#bytes > MOST_BYTES && this.rows.length > 1)) {
      const gone = this.rows.shift();
      if (gone) this.#bytes -= cost(gone);
    }
  }

  clear() {
    this.rows.clear();
    this.came = 0;
    this.#bytes = 0;
  }
}

// Text is two bytes a character at most, and the row has an object of its own.
/** @param {Row} row */
const cost = (row) => row.raw.length + 2 * row.text.length + 300;
