// The text/event-stream format. No I/O: bytes in, events out, however the bytes are cut.
//
// https://html.spec.whatwg.org/multipage/server-sent-events.html

const LIMIT = 16 * 1024 * 1024;

/**
 * What a block of a stream says. `topic` is a field of Tidewire's own, written where a stream may
 * carry more than one.
 *
 * @typedef {{ type: string, data: string, lastEventId: string, topic?: string }} Block
 *
 * @typedef {ReturnType<typeof decoder>} Decoder
 */

/**
 * Turn the bytes of a text/event-stream into blocks.
 *
 * @param {string} [lastEventId] where the stream goes on
 */
export function decoder(lastEventId = "") {
  let text = new TextDecoder();
  /** Pieces of the line without an end yet, joined once. @type {string[]} */
  let tail = [];
  let held = 0; // characters in them
  let afterCR = false;
  let id = "";
  let type = "";
  /** @type {string | undefined} */
  let topic;
  /** @type {string[] | undefined} */
  let data;
  let size = 0; // characters of data without a blank line yet

  const self = {
    lastEventId,
    /** The reconnection time that the server asked for, in milliseconds. @type {number | undefined} */
    retry: undefined,

    /** Begin a new connection: what was half read is dropped, `lastEventId` and `retry` stay. */
    reset() {
      // It strips the one byte order mark that the standard strips; nobody else may.
      text = new TextDecoder();
      tail = [];
      held = 0;
      afterCR = false;
      id = self.lastEventId;
      clear();
    },

    /**
     * Return the blocks that end in this chunk. Throws a RangeError on one of more than 16 MiB.
     *
     * @param {Uint8Array} chunk
     * @returns {Block[]}
     */
    feed(chunk) {
      let more = text.decode(chunk, { stream: true });
      if (!more) return [];
      // A CR ended its line already, so that nobody waits for the LF that may follow.
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
      // ID buffer": also where no data means no event.
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
