// The stream that a page uses: an EventSource on the outside, with its own or a shared connection inside.

/** @import { Block } from "./decoder.js" */
/** @import { Failure, StreamError } from "./events.js" */
/** @import { RequestOptions } from "./request.js" */
import { StreamEvent, streamError } from "./events.js";
import { stored, watchPage } from "./page.js";
import { eventQueue } from "./queue.js";
import { streamRequest } from "./request.js";
import { sharedSource } from "./shared.js";
import { ownSource } from "./source.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 2;

// Events about the stream itself. A loop over the events does not get them.
const NOT_ITERATED = ["hub.position", "hub.open"];

// The events of this class. An event of the server with such a type must not reach their listeners: a failure that a
// program reports by an event named `error` is not one of the connection.
const OWN = ["open", "error", "*"];

/**
 * @typedef {object} StreamOptions
 * @property {string} [lastEventId] continue after this event
 * @property {string} [persist] keep the position across reloads of the page, under this name
 * @property {boolean | string} [share] use one connection for all tabs of this origin with the same request and
 *   account; a string is the account
 *
 * @typedef {RequestOptions & StreamOptions} Options
 */

/**
 * The event that a listener gets for an event type. `M` maps event types to the types of their JSON data.
 *
 * @template {Record<string, any>} M
 * @template {string} K
 * @typedef {K extends "open" ? Event
 *   : K extends "error" ? StreamError
 *   : K extends "*" ? CustomEvent<StreamEvent<M[string]>>
 *   : K extends `event:${infer T}` ? StreamEvent<M[T]>
 *   : StreamEvent<M[K]>} EventOf
 */

/**
 * An EventSource that does not give up.
 *
 * @template {Record<string, any>} [M=Record<string, any>]
 */
export class EventStream extends EventTarget {
  /** @readonly */
  static CONNECTING = CONNECTING;
  /** @readonly */
  static OPEN = OPEN;
  /** @readonly */
  static CLOSED = CLOSED;
  /** @readonly */
  CONNECTING = CONNECTING;
  /** @readonly */
  OPEN = OPEN;
  /** @readonly */
  CLOSED = CLOSED;

  /** @type {Record<string, ((event: any) => any) | null>} */
  #handlers = {};
  /** @type {0 | 1 | 2} */
  #state = CONNECTING;
  #away = false;
  /** @type {Set<ReturnType<typeof eventQueue>>} */
  #queues = new Set();
  /** @type {(value?: unknown) => void} */
  #room = () => {};
  #source;
  #key;
  #lastEventId;
  #closed = new AbortController();

  /**
   * Throws a SyntaxError if `url` is not a URL, and a TypeError if a header cannot be sent.
   *
   * @param {string | URL} url
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    const { share, persist, lastEventId } = options;
    const request = streamRequest(url, options);
    const sink = {
      opened: () => this.#opened(),
      take: this.#take.bind(this),
      failed: this.#failed.bind(this),
    };
    this.url = request.url;
    this.withCredentials = request.credentials === "include";
    // Without locks (insecure origins, server-side runtimes) each stream has its own connection.
    this.#source =
      share && globalThis.navigator?.locks
        ? sharedSource(share, request, sink)
        : ownSource(request, sink);
    this.#key = persist && `tidewire ${persist}`;
    this.#lastEventId = lastEventId || (this.#key && stored(this.#key)) || "";
    watchPage(this.#closed.signal, {
      leave: () => this.#leave(),
      back: () => this.#back(),
      show: () => this.reconnect(),
      hide: () => this.#source.hide(),
    });
    // Called by a listener, so that an error in a handler is reported and does not stop the stream.
    for (const type of /** @type {const} */ (["open", "message", "error"])) {
      this.addEventListener(type, (/** @type {any} */ event) => this.#handlers[type]?.call(this, event));
    }
    // Start later: the first event may be an error, and the page has no listener yet.
    queueMicrotask(() => this.#begin());
  }

  // A handler is read as one of any event: the handlers of an EventSource expect less, and a stream may be assigned to a
  // variable of that type.

  /** @returns {((event: any) => any) | null} */
  get onopen() {
    return this.#handlers.open ?? null;
  }

  /** @param {((event: Event) => void) | null} handler */
  set onopen(handler) {
    this.#handlers.open = handler;
  }

  /** @returns {((event: any) => any) | null} */
  get onmessage() {
    return this.#handlers.message ?? null;
  }

  /** @param {((event: StreamEvent<M["message"]>) => void) | null} handler */
  set onmessage(handler) {
    this.#handlers.message = handler;
  }

  /** @returns {((event: any) => any) | null} */
  get onerror() {
    return this.#handlers.error ?? null;
  }

  /** @param {((event: StreamError) => void) | null} handler */
  set onerror(handler) {
    this.#handlers.error = handler;
  }

  get readyState() {
    return this.#state;
  }

  /** The id of the newest event dispatched. A new stream can continue from it. */
  get lastEventId() {
    return this.#lastEventId;
  }

  /** `solo` with a connection for this tab only; in a shared connection `leader` (this tab holds it) or `follower`. */
  get role() {
    return this.#source.role;
  }

  /** Close the stream for good. No event is dispatched for that or after it. */
  close() {
    this.#finish();
    for (const queue of this.#queues) queue.return();
  }

  /** Try again now instead of waiting, and check whether an open connection is still alive. */
  reconnect() {
    this.#source.retryNow();
  }

  /**
   * Return the events from now on, for `for await`. Reading from the server pauses while `buffer` events are unread.
   * A shared connection does not pause for one tab; there the loop ends with a RangeError.
   *
   * @param {{ buffer?: number }} [options]
   * @returns {AsyncIterableIterator<StreamEvent<M[string]>>}
   */
  events({ buffer = 1024 } = {}) {
    const queue = eventQueue(buffer, () => {
      if (queue.over) this.#queues.delete(queue);
      this.#room();
    });
    if (this.#state === CLOSED) queue.end();
    else this.#queues.add(queue);
    return queue;
  }

  [Symbol.asyncIterator]() {
    return this.events();
  }

  /**
   * Listen to one event type, or to all of them with `*`: a CustomEvent whose `detail` is the event.
   *
   * `open` and `error` are those of the connection. An event that the server sends with one of these types, or with
   * the type `*`, is dispatched as `event:open`, `event:error` or `event:*`.
   *
   * @overload
   * @param {K} type
   * @param {((event: EventOf<M, K>) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   * @template {string} K
   */
  /**
   * As in an EventSource.
   *
   * @overload
   * @param {string} type
   * @param {((event: MessageEvent) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @param {string} type
   * @param {any} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
  }

  /**
   * @param {string} type
   * @param {((event: any) => void) | EventListenerObject | null} listener
   * @param {boolean | EventListenerOptions} [options]
   */
  removeEventListener(type, listener, options) {
    super.removeEventListener(type, listener, options);
  }

  // -- opening and closing

  #begin() {
    if (this.#state !== CLOSED) this.#source.start(this.#lastEventId);
  }

  #leave() {
    this.#away = true;
    this.#state = CONNECTING;
    this.#source.stop();
  }

  #back() {
    if (this.#away) this.#begin();
    this.#away = false;
  }

  #finish() {
    this.#state = CLOSED;
    this.#source.stop();
    this.#closed.abort();
    this.#room();
  }

  #opened() {
    if (this.#state !== CONNECTING) return;
    this.#state = OPEN;
    this.dispatchEvent(new Event("open"));
  }

  /** @param {Failure} failure */
  #failed(failure) {
    if (this.#state === CLOSED) return;
    this.#state = CONNECTING;
    const error = streamError(failure);
    if (failure.final) {
      this.#finish();
      const { reason, message } = failure;
      const cause = reason === "done" ? undefined : new Error(message, { cause: error });
      for (const queue of this.#queues) queue.end(cause);
    }
    this.dispatchEvent(error);
  }

  /** @type {(blocks: Block[], origin: string) => void | Promise<void>} */
  #take(blocks, origin) {
    for (const block of blocks) {
      if (this.#state === CLOSED) return;
      this.#lastEventId = block.lastEventId;
      this.#dispatch({ ...block, origin });
    }
    this.#lastEventId = this.#source.lastEventId;
    if (this.#key) stored(this.#key, this.#lastEventId);
    return this.#waitForRoom();
  }

  /** @param {Block & { origin: string }} block */
  #dispatch(block) {
    const { type } = block;
    const event = new StreamEvent(block);
    this.dispatchEvent(OWN.includes(type) ? new StreamEvent({ ...block, type: `event:${type}` }) : event);
    if (NOT_ITERATED.includes(type)) return;
    this.dispatchEvent(new CustomEvent("*", { detail: event }));
    for (const queue of this.#queues) queue.push(event);
  }

  async #waitForRoom() {
    const full = () => [...this.#queues].filter((queue) => queue.full());
    while (this.role === "solo" && full().length) await new Promise((done) => (this.#room = done));
    for (const queue of full()) queue.end(new RangeError("too far behind"));
  }
}
