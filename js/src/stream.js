// The stream that a page holds: an EventSource to look at, with a source of its own or a shared one behind.

/** @import { Block } from "./decoder.js" */
/** @import { Failure, StreamError } from "./events.js" */
/** @import { RequestOptions } from "./request.js" */
import { StreamEvent, streamError } from "./events.js";
import { memory, watchPage } from "./page.js";
import { eventQueue } from "./queue.js";
import { streamRequest } from "./request.js";
import { sharedSource } from "./shared.js";
import { ownSource } from "./source.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 2;

// How the hub speaks of the stream itself: of no interest to a loop over its events.
const SILENT = ["hub.position", "hub.open"];

/**
 * @typedef {object} StreamOptions
 * @property {string} [lastEventId] go on after this event
 * @property {string} [persist] keep the position across a reload of the page, under this name
 * @property {boolean | string} [share] one connection for all tabs of this origin that ask for the same and give the
 *   same account
 *
 * @typedef {RequestOptions & StreamOptions} Options
 */

/**
 * What a listener is given for a type of event; `M` says what the data of which type is, as JSON.
 *
 * @template {Record<string, any>} M
 * @template {string} K
 * @typedef {K extends "open" ? Event
 *   : K extends "error" ? StreamError
 *   : K extends "*" ? CustomEvent<StreamEvent<M[string]>>
 *   : K extends "gap" | "end" ? CustomEvent<Record<string, any>>
 *   : StreamEvent<M[K]>} EventOf
 */

/**
 * An EventSource that does not give up.
 *
 * @template {Record<string, any>} [M=Record<string, any>]
 */
export class EventStream extends EventTarget {
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSED = CLOSED;
  CONNECTING = CONNECTING;
  OPEN = OPEN;
  CLOSED = CLOSED;

  /** @type {((event: Event) => void) | null} */
  onopen = null;
  /** @type {((event: StreamEvent<M["message"]>) => void) | null} */
  onmessage = null;
  /** @type {((event: StreamError) => void) | null} */
  onerror = null;

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
   * Throws a SyntaxError where `url` is none, and a TypeError for headers that no request can carry.
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
    // Without locks (an insecure origin, a server-side runtime) each has a connection of its own.
    this.#source =
      share && globalThis.navigator?.locks
        ? sharedSource(share, request, sink)
        : ownSource(request, sink);
    this.#key = persist && `tidewire ${persist}`;
    this.#lastEventId = lastEventId || (this.#key && memory(this.#key)) || "";
    watchPage(this.#closed.signal, {
      leave: () => this.#leave(),
      back: () => this.#back(),
      show: () => this.reconnect(),
      hide: () => this.#source.hide(),
    });
    // Called by a listener, so that what a handler throws is the page's affair and not ours.
    for (const type of /** @type {const} */ (["open", "message", "error"])) {
      this.addEventListener(type, (/** @type {any} */ event) => this[`on${type}`]?.(event));
    }
    // What is wrong with a URL or a header is told by an event, which nobody can hear yet.
    queueMicrotask(() => this.#begin());
  }

  get readyState() {
    return this.#state;
  }

  /** The id of the newest event that was handed out: where a new stream would go on. */
  get lastEventId() {
    return this.#lastEventId;
  }

  /** Whose connection it is: this tab's alone (`solo`), or one that it holds for others (`leader`) or hears (`follower`). */
  get role() {
    return this.#source.role;
  }

  /** Leave for good. No event tells of it, and none comes after it. */
  close() {
    this.#finish();
    for (const queue of this.#queues) queue.return();
  }

  /** Try again now instead of waiting, and look whether an open connection still lives. */
  reconnect() {
    this.#source.hurry();
  }

  /**
   * Return the events from now on, for `for await`. Reading from the server stops while
   * `buffer` of them wait to be taken. A shared connection does not stop for one tab: there the loop ends with a
   * RangeError.
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
   * Listen to one type of event, or to `*`: a CustomEvent whose `detail` is the event, whatever its type.
   *
   * @template {string} K
   * @param {K} type
   * @param {((event: EventOf<M, K>) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListener} */ (listener), options);
  }

  // -- its life

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
      const { reason, message = reason } = failure;
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
      this.#hand(new StreamEvent({ ...block, origin }));
    }
    this.#lastEventId = this.#source.lastEventId;
    if (this.#key) memory(this.#key, this.#lastEventId);
    return this.#makeRoom();
  }

  /** @param {StreamEvent} event */
  #hand(event) {
    const { type } = event;
    this.dispatchEvent(event);
    if (/^hub\.(gap|end)$/.test(type)) this.dispatchEvent(new CustomEvent(type.slice(4), { detail: event.json() }));
    if (SILENT.includes(type)) return;
    this.dispatchEvent(new CustomEvent("*", { detail: event }));
    for (const queue of this.#queues) queue.push(event);
  }

  async #makeRoom() {
    const full = () => [...this.#queues].filter((queue) => queue.full());
    while (this.role === "solo" && full().length) await new Promise((done) => (this.#room = done));
    for (const queue of full()) queue.end(new RangeError("too far behind"));
  }
}
