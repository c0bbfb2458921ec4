// @ts-check
// Reads one SSE endpoint as a browser's EventSource does, and tells everything that happens on the way.

import { duration } from "./format.js";
import { splitter } from "./blocks.js";

/** @import { Item } from "./blocks.js" */

/** @typedef {"connecting" | "open" | "waiting" | "stopped"} State */

/**
 * @typedef {object} Endpoint
 * @property {string} url
 * @property {Record<string, string>} [headers]
 * @property {string} [body] is sent by POST, and then nothing is repeated
 */

const RETRY = 3000; // milliseconds, as in Chromium, until the server says otherwise
const NOTHING = new Uint8Array();

export class Reader {
  #stopped = new AbortController();
  #endpoint;
  #onItems;
  #onState;
  #blocks = splitter();

  /**
   * @param {Endpoint} endpoint
   * @param {(items: Item[]) => void} onItems
   * @param {(state: State) => void} onState
   */
  constructor(endpoint, onItems, onState) {
    this.#endpoint = endpoint;
    this.#onItems = onItems;
    this.#onState = onState;
  }

  async run() {
    while (!this.#stopped.signal.aborted) {
      this.#onState("connecting");
      const again = await this.#connection();
      if (this.#stopped.signal.aborted) return;
      if (!again) break;
      this.#onState("waiting");
      await this.#pause(this.#blocks.retry ?? RETRY);
    }
    this.stop();
  }

  stop() {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort();
    this.#onState("stopped");
  }

  /** Read one connection to its end. Returns whether an EventSource would open another one. */
  async #connection() {
    const { url, headers, body } = this.#endpoint;
    const lastEventId = this.#blocks.lastEventId;
    const started = performance.now();
    const retry = () => `the next attempt is in ${(this.#blocks.retry ?? RETRY) / 1000} s`;
    let response;
    try {
      response = await fetch(url, {
        method: body ? "POST" : "GET",
        headers: { Accept: "text/event-stream", ...headers, ...(lastEventId && { "Last-Event-ID": lastEventId }) },
        cache: "no-store",
        signal: this.#stopped.signal,
        ...(body && { body }),
      });
    } catch (error) {
      if (this.#stopped.signal.aborted) return false;
      const cross = new URL(url).origin === location.origin ? "" : " Its CORS headers may not allow this page to read it.";
      this.#tell("error", "failed", `No answer: ${message(error)}.${cross}${body ? "" : ` Now ${retry()}.`}`);
      return !body;
    }
    const type = response.headers.get("content-type") ?? "no content type";
    const head = `${response.status} ${response.statusText} · ${type} · ${Math.round(performance.now() - started)} ms`;
    if (response.status !== 200 || !/^text\/event-stream *(;|$)/i.test(type)) {
      const start = response.status === 204 ? "" : await beginning(response);
      if (this.#stopped.signal.aborted) return false;
      const why = response.status === 204 ? "The server says not to come back." : "An EventSource gives up here.";
      this.#tell("error", "refused", `${head}. ${why}${start && `\n${start}`}`);
      return false;
    }
    const from = lastEventId && ` · Last-Event-ID: ${lastEventId}`;
    this.#tell("open", "open", `${head}${from}${response.redirected ? ` · redirected to ${response.url}` : ""}`);
    this.#onState("open");
    this.#blocks = splitter(lastEventId, this.#blocks.retry);
    const opened = performance.now();
    /** @type {["end" | "error", string, string]} */
    let outcome = ["end", "ended", "The server ended the stream"];
    try {
      const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const items = this.#blocks.feed(value);
        if (items.length) this.#onItems(items);
      }
    } catch (error) {
      if (this.#stopped.signal.aborted) return false;
      outcome = ["error", "lost", `The connection broke: ${message(error)}`];
    }
    const [kind, word, text] = outcome;
    const after = ` after ${duration((performance.now() - opened) / 1000)}`;
    this.#tell(kind, word, `${text}${after}${body ? "." : `; ${retry()}.`}`);
    return !body;
  }

  /** @type {(kind: "open" | "end" | "error", type: string, text: string) => void} */
  #tell(kind, type, text) {
    this.#onItems([{ kind, type, topic: "", id: "", text, raw: NOTHING }]);
  }

  /** @param {number} ms */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#stopped.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve(undefined);
      });
    });
  }
}

/** @param {unknown} error */
const message = (error) => (error instanceof Error ? error.message : String(error)).replace(/\.$/, "");

/** The first part of a body, of whatever length. @param {Response} response */
async function beginning(response) {
  const reader = response.body?.getReader();
  const text = new TextDecoder();
  let read = "";
  try {
    while (reader && read.length < 2000) {
      const { done, value } = await reader.read();
      if (done) break;
      read += text.decode(value, { stream: true });
    }
    await reader?.cancel();
  } catch {
    // What came is shown.
  }
  return read.slice(0, 2000);
}
