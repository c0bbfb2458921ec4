// @ts-check
// What stands on a text/event-stream, byte for byte: the events, and what browsers do not show. No I/O.
//
// The client's decoder says what an event is. This module cuts the bytes into the parts it is given, so that each
// byte of the stream belongs to exactly one item.

import { decoder } from "../tidewire.js";

/** @import { Kind } from "./ring.js" */

/**
 * @typedef {object} Item
 * @property {Kind} kind
 * @property {string} type
 * @property {string} topic
 * @property {string} id
 * @property {string} text
 * @property {Uint8Array} raw
 */

const LF = 10;
const CR = 13;
const COLON = 58;
const LIMIT = 16 * 1024 * 1024;

/**
 * @param {string} [lastEventId] where the stream continues
 * @param {number} [retry] what the connection before it said
 */
export function splitter(lastEventId = "", retry = undefined) {
  const decode = Object.assign(decoder(lastEventId), { retry });
  const utf8 = new TextDecoder();
  /** The beginning of a line whose end has not come. @type {Uint8Array[]} */
  let tail = [];
  /** The lines of a block whose end has not come. @type {Uint8Array[]} */
  let block = [];
  let held = 0;
  let afterCR = false;
  let first = true;
  /** The newest item, to which a line end may still belong. @type {Item | undefined} */
  let last;

  return {
    get lastEventId() {
      return decode.lastEventId;
    },

    /** The server's reconnection time, in milliseconds. @returns {number | undefined} */
    get retry() {
      return decode.retry;
    },

    /**
     * Return what ends in this chunk. Throws a RangeError if an event is larger than 16 MiB.
     *
     * @param {Uint8Array} chunk
     */
    feed(chunk) {
      /** @type {Item[]} */
      const items = [];
      let start = 0;
      if (afterCR && chunk.length) {
        afterCR = false;
        if (chunk[0] === LF) {
          start = 1;
          endsWith(chunk.subarray(0, 1));
        }
      }
      for (let at = start; at < chunk.length; at += 1) {
        if (chunk[at] !== LF && chunk[at] !== CR) continue;
        const blank = at === start && !tail.length;
        if (chunk[at] === CR) {
          if (chunk[at + 1] === LF) at += 1;
          else if (at + 1 === chunk.length) afterCR = true;
        }
        tail.push(chunk.slice(start, at + 1));
        start = at + 1;
        line(joined(tail), blank, items);
        tail = [];
      }
      if (start < chunk.length) tail.push(chunk.slice(start));
      held += chunk.length;
      if (!tail.length && !block.length) held = 0;
      if (held > LIMIT) throw new RangeError("event too large");
      return items;
    },
  };

  /** @type {(line: Uint8Array, blank: boolean, items: Item[]) => void} */
  function line(line, blank, items) {
    // The standard ignores a byte order mark at the very beginning, as TextDecoder does.
    const start = first && line[0] === 0xef && line[1] === 0xbb && line[2] === 0xbf ? line.subarray(3) : line;
    first = false;
    if (blank) {
      if (block.length) items.push(end([...block, line]));
      else endsWith(line);
      block = [];
      held = 0;
    } else if (!block.length && (start[0] === COLON || isRetry(start))) {
      // Between the blocks: it counts at once, and is shown at once.
      decode.feed(line);
      const kind = start[0] === COLON ? "comment" : "retry";
      const text = utf8.decode(line).replace(/[\r\n]+$/, "").replace(/^(retry)?: ?/, "");
      items.push((last = { kind, type: kind, topic: "", id: "", text, raw: line }));
    } else {
      block.push(line);
    }
  }

  /** @param {Uint8Array[]} lines */
  function end(lines) {
    const raw = joined(lines);
    const [event] = decode.feed(raw);
    last = event
      ? { kind: "event", type: event.type, topic: event.topic ?? "", id: event.lastEventId, text: event.data, raw }
      : { kind: "block", type: "no event", topic: "", id: decode.lastEventId, text: "a block without data", raw };
    return last;
  }

  /** Add a line end to what came before it. @param {Uint8Array} bytes */
  function endsWith(bytes) {
    const line = block.at(-1);
    if (line) block[block.length - 1] = joined([line, bytes]);
    else {
      decode.feed(bytes);
      if (last) last.raw = joined([last.raw, bytes]);
    }
  }
}

/** @param {Uint8Array} line */
const isRetry = (line) => line.length > 6 && "retry:" === String.fromCharCode(...line.subarray(0, 6));

/** @param {Uint8Array[]} parts */
function joined(parts) {
  if (parts.length === 1 && parts[0]) return parts[0];
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
