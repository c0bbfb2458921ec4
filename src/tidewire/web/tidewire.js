// Tidewire's browser client: EventSource over fetch, with what EventSource lacks.
//
//   import { EventStream } from "/tidewire.js";
//   const stream = new EventStream("/events/news");
//   stream.onmessage = (event) => console.log(event.lastEventId, event.data);
//
// A drop-in for EventSource (WHATWG HTML, section 9.2): the same constants, events,
// handlers and close(). It differs in three things only: it outlives answers that may
// pass (408, 425, 429 and 5xx), it waits longer while attempts keep failing, and it
// notices a server that fell silent, where the server said how often it speaks.

const VERSION = "0.1.0";
const LIMIT = 16 * 1024 * 1024;
const MAY_PASS = new Set([408, 425, 429]);

const between = (low, value, high) => Math.min(Math.max(value, low), high);

/** Turns the bytes of a text/event-stream into `{type, data, lastEventId}`, however they are cut. */
export class Decoder {
  /** The reconnection time that the server asked for, in milliseconds; null if it never did. */
  retry = null;

  constructor(lastEventId = "") {
    this.lastEventId = lastEventId;
    this.reset();
  }

  /** Begin a new connection: what was half read is dropped, `lastEventId` and `retry` stay. */
  reset() {
    // TextDecoder strips the one byte order mark that the standard strips; nobody else may.
    this._text = new TextDecoder();
    this._tail = []; // pieces of the line without an end yet, joined once
    this._held = 0; // characters in them
    this._size = 0; // characters of data without a blank line yet
    this._afterCR = false;
    this._id = this.lastEventId;
    this._type = "";
    this._data = null;
  }

  /** Return the events that end in this chunk. Throws a RangeError on one of more than 16 MiB. */
  feed(chunk) {
    let text = this._text.decode(chunk, { stream: true });
    if (!text) return [];
    // A CR ended its line already, so that nobody waits for the LF that may follow.
    if (this._afterCR && text[0] === "\n") text = text.slice(1);
    this._afterCR = text ? text.endsWith("\r") : false;
    const lines = text.split(/\r\n|\n|\r/);
    const events = [];
    if (lines.length > 1) {
      lines[0] = this._tail.join("") + lines[0];
      this._tail = [];
      this._held = 0;
    }
    const rest = lines.pop();
    for (const line of lines) this._line(line, events);
    if (rest) this._tail.push(rest);
    this._held += rest.length;
    if (this._held + this._size > LIMIT) throw new RangeError("an event of more than 16 MiB");
    return events;
  }

  _line(line, events) {
    if (!line) {
      // "Set the last event ID string of the event source to the value of the last event
      // ID buffer": also where no data means no event.
      this.lastEventId = this._id;
      if (this._data !== null) {
        events.push({ type: this._type || "message", data: this._data.join("\n"), lastEventId: this._id });
      }
      this._type = "";
      this._data = null;
      this._size = 0;
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "data") {
      (this._data ??= []).push(value);
      this._size += value.length + 1;
    } else if (field === "event") this._type = value;
    else if (field === "id" && !value.includes("\0")) this._id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
  }
}

/** An EventSource that does not give up. `headers` go with every request. */
export class EventStream extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;
  CONNECTING = 0;
  OPEN = 1;
  CLOSED = 2;

  #handlers = {};
  #abort = new AbortController();
  #decoder;
  #headers;
  #failures = 0;
  #state = 0;

  /** Throws a SyntaxError where `url` is none. `lastEventId` resumes what another page began. */
  constructor(url, { withCredentials = false, headers = {}, lastEventId = "" } = {}) {
    super();
    try {
      this.url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href).href;
    } catch {
      throw new DOMException(`not a URL: ${url}`, "SyntaxError");
    }
    this.withCredentials = Boolean(withCredentials);
    this.#headers = headers;
    this.#decoder = new Decoder(String(lastEventId));
    // What is wrong with a URL or a header is told by an event, which nobody can hear yet.
    queueMicrotask(() => this.#run());
  }

  get readyState() {
    return this.#state;
  }

  get lastEventId() {
    return this.#decoder.lastEventId;
  }

  /** Leave for good. No event tells of it, and none comes after it. */
  close() {
    this.#state = 2;
    this.#abort.abort();
  }

  async #run() {
    while (this.#state !== 2) {
      const { stop, after = 0 } = await this.#connect();
      if (this.#state === 2) return;
      this.#state = stop ? 2 : 0;
      this.dispatchEvent(new Event("error"));
      if (this.#state !== 2) await this.#sleep(Math.max(after, this.#delay()));
    }
  }

  /** One connection, from the request to its end: whether to stop for good, and the least wait in ms. */
  async #connect() {
    // fetch() reports a scheme that can never work as one more network error.
    if (!/^https?:/.test(this.url)) return { stop: true };
    const attempt = new AbortController();
    const leave = () => attempt.abort();
    this.#abort.signal.addEventListener("abort", leave);
    try {
      const response = await fetch(this.url, {
        headers: this.#requestHeaders(),
        credentials: this.withCredentials ? "include" : "same-origin",
        cache: "no-store",
        signal: attempt.signal,
      });
      const type = response.headers.get("Content-Type") ?? "";
      if (response.status !== 200) return this.#refused(response);
      if (!/^text\/event-stream\s*(;|$)/i.test(type)) return { stop: true };
      await this.#read(response, leave);
      return {};
    } catch (error) {
      return { stop: error instanceof RangeError };
    } finally {
      this.#failures += 1;
      this.#abort.signal.removeEventListener("abort", leave);
      leave();
    }
  }

  #requestHeaders() {
    const headers = new Headers(this.#headers);
    headers.set("Accept", "text/event-stream");
    headers.set("Tidewire-Client", `js/${VERSION}`);
    // "the UTF-8 encoding of the last event ID": fetch takes header text byte by byte.
    const id = String.fromCharCode(...new TextEncoder().encode(this.lastEventId));
    if (id) headers.set("Last-Event-ID", id);
    return headers;
  }

  #refused(response) {
    const { status } = response;
    if (status < 500 && !MAY_PASS.has(status)) return { stop: true };
    const value = response.headers.get("Retry-After") ?? "";
    const after = /^\d+$/.test(value) ? value * 1000 : Date.parse(value) - Date.now();
    return { after: between(0, after || 0, 3_600_000) };
  }

  async #read(response, leave) {
    const { origin } = new URL(response.url || this.url);
    // Two and a half heartbeats without a byte: the other side is gone and nobody said so.
    const patience = Math.max(20, 2.5 * response.headers.get("Tidewire-Heartbeat")) * 1000;
    const watched = response.headers.has("Tidewire-Heartbeat");
    const reader = response.body.getReader();
    const opened = Date.now();
    let watchdog;
    this.#decoder.reset();
    this.#state = 1;
    this.dispatchEvent(new Event("open"));
    try {
      for (;;) {
        clearTimeout(watchdog);
        if (watched) watchdog = setTimeout(leave, patience);
        const { done, value } = await reader.read();
        if (done || this.#state === 2) return;
        for (const { type, ...init } of this.#decoder.feed(value)) {
          this.dispatchEvent(new MessageEvent(type, { ...init, origin }));
          if (this.#state === 2) return;
        }
        // A server that accepts and closes at once is a failure like any other.
        if (Date.now() - opened > 5000) this.#failures = 0;
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  /** `retry` after the first end, up to 30 s after many in a row; spread, so that a crowd comes back in a stream. */
  #delay() {
    const retry = between(500, this.#decoder.retry ?? 3000, 300_000);
    const most = Math.max(retry, Math.min(30_000, retry * 2 ** (this.#failures - 1)));
    return retry + Math.random() * (1.25 * most - retry);
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#abort.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }

  #handle(type, handler) {
    // One listener per type, put where the first handler was, calls whichever is set now.
    if (!(type in this.#handlers)) {
      this.addEventListener(type, (event) => this.#handlers[type]?.call(this, event));
    }
    this.#handlers[type] = typeof handler === "function" ? handler : null;
  }

  get onopen() {
    return this.#handlers.open ?? null;
  }
  set onopen(handler) {
    this.#handle("open", handler);
  }
  get onmessage() {
    return this.#handlers.message ?? null;
  }
  set onmessage(handler) {
    this.#handle("message", handler);
  }
  get onerror() {
    return this.#handlers.error ?? null;
  }
  set onerror(handler) {
    this.#handle("error", handler);
  }
}
