// The text/event-stream format. No I/O: bytes in, events out, however the bytes are split.
//
// https://html.spec.whatwg.org/multipage/server-sent-events.html

const LIMIT = 16 * 1024 * 1024;

/**
 * A block of a stream. `topic` is Tidewire's own field; it is sent if a stream may have more than one topic.
 *
 * @typedef {{ type: string, data: string, lastEventId: string, topic?: string }} Block
 *
 * @typedef {ReturnType<typeof decoder>} Decoder
 */

/**
 * Turn the bytes of a text/event-stream into blocks.
 *
 * @param {string} [lastEventId] where the stream continues
 */
export function decoder(lastEventId = "") {
  let text = new TextDecoder();
  /** Pieces of an unfinished line, joined once. @type {string[]} */
  let tail = [];
  let held = 0; // characters in `tail`
  let afterCR = false;
  let id = "";
  let type = "";
  /** @type {string | undefined} */
  let topic;
  /** @type {string[] | undefined} */
  let data;
  let size = 0; // characters of data in the unfinished block

  const self = {
    lastEventId,
    /** The server's reconnection time, in milliseconds. @type {number | undefined} */
    retry: undefined,

    /** Start a new connection: drop an unfinished block, keep `lastEventId` and `retry`. */
    reset() {
      // TextDecoder strips the one byte order mark that the standard says to strip.
      text = new TextDecoder();
      tail = [];
      held = 0;
      afterCR = false;
      id = self.lastEventId;
      clear();
    },

    /**
     * Return the blocks that end in this chunk. Throws a RangeError if one is larger than 16 MiB.
     *
     * @param {Uint8Array} chunk
     * @returns {Block[]}
     */
    feed(chunk) {
      let more = text.decode(chunk, { stream: true });
      if (!more) return [];
      // A CR ends its line at once; an LF that follows in the next chunk is skipped.
      if (afterCR && more[0] === "\n") more = more.slice(1);
      afterCR = more ? more.endsWith("\r") : false;
      const lines = more.split(/\r\n|\n|\r/);
      /** @type {Block[]} */
      const blocks = [];
      if (lines.length > 1) {
        lines[0] = tail.join("") + lines[0];
        tail = [];
        held = 0;
      }
      const rest = lines.pop() ?? "";
      for (const one of lines) line(one, blocks);
      if (rest) tail.push(rest);
      held += rest.length;
      if (held + size > LIMIT) throw new RangeError("event too large");
      return blocks;
    },
  };
  self.reset();
  return self;

  function clear() {
    type = "";
    topic = undefined;
    data = undefined;
    size = 0;
  }

  /** @type {(text: string, blocks: Block[]) => void} */
  function line(text, blocks) {
    if (text) field(text);
    else {
      // "Set the last event ID string of the event source to the value of the last event
      // ID buffer": even if there is no data and so no event.
      self.lastEventId = id;
      if (data) blocks.push({ type: type || "message", data: data.join("\n"), lastEventId: id, topic });
      clear();
    }
  }

  /** @param {string} text */
  function field(text) {
    const colon = text.indexOf(":");
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + (text[colon + 1] === " " ? 2 : 1));
    if (name === "data") {
      (data ??= []).push(value);
      size += value.length + 1;
    } else if (name === "event") type = value;
    else if (name === "topic") topic = value;
    else if (name === "id" && !value.includes("\0")) id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) self.retry = Number(value);
  }
}
