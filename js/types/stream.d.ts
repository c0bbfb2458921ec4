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
export class EventStream<M extends Record<string, any> = Record<string, any>> extends EventTarget {
    /** @readonly */
    static readonly CONNECTING: 0;
    /** @readonly */
    static readonly OPEN: 1;
    /** @readonly */
    static readonly CLOSED: 2;
    /**
     * Throws a SyntaxError if `url` is not a URL, and a TypeError if a header cannot be sent.
     *
     * @param {string | URL} url
     * @param {Options} [options]
     */
    constructor(url: string | URL, options?: Options);
    /** @readonly */
    readonly CONNECTING: 0;
    /** @readonly */
    readonly OPEN: 1;
    /** @readonly */
    readonly CLOSED: 2;
    url: string;
    withCredentials: boolean;
    /** @param {((event: Event) => void) | null} handler */
    set onopen(handler: ((event: Event) => void) | null);
    /** @returns {((event: any) => any) | null} */
    get onopen(): ((event: any) => any) | null;
    /** @param {((event: StreamEvent<M["message"]>) => void) | null} handler */
    set onmessage(handler: ((event: StreamEvent<M["message"]>) => void) | null);
    /** @returns {((event: any) => any) | null} */
    get onmessage(): ((event: any) => any) | null;
    /** @param {((event: StreamError) => void) | null} handler */
    set onerror(handler: ((event: StreamError) => void) | null);
    /** @returns {((event: any) => any) | null} */
    get onerror(): ((event: any) => any) | null;
    get readyState(): 0 | 2 | 1;
    /** The id of the newest event dispatched. A new stream can continue from it. */
    get lastEventId(): string;
    /** `solo` with a connection for this tab only; in a shared connection `leader` (this tab holds it) or `follower`. */
    get role(): string;
    /** Close the stream for good. No event is dispatched for that or after it. */
    close(): void;
    /** Try again now instead of waiting, and check whether an open connection is still alive. */
    reconnect(): void;
    /**
     * Return the events from now on, for `for await`. Reading from the server pauses while `buffer` events are unread.
     * A shared connection does not pause for one tab; there the loop ends with a RangeError.
     *
     * @param {{ buffer?: number }} [options]
     * @returns {AsyncIterableIterator<StreamEvent<M[string]>>}
     */
    events({ buffer }?: {
        buffer?: number;
    }): AsyncIterableIterator<StreamEvent<M[string]>>;
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
    addEventListener<K extends string>(type: K, listener: ((event: EventOf<M, K>) => void) | EventListenerObject | null, options?: boolean | AddEventListenerOptions | undefined): void;
    /**
     * As in an EventSource.
     *
     * @overload
     * @param {string} type
     * @param {((event: MessageEvent) => void) | EventListenerObject | null} listener
     * @param {boolean | AddEventListenerOptions} [options]
     * @returns {void}
     */
    addEventListener(type: string, listener: ((event: MessageEvent) => void) | EventListenerObject | null, options?: boolean | AddEventListenerOptions | undefined): void;
    /**
     * @param {string} type
     * @param {((event: any) => void) | EventListenerObject | null} listener
     * @param {boolean | EventListenerOptions} [options]
     */
    removeEventListener(type: string, listener: ((event: any) => void) | EventListenerObject | null, options?: boolean | EventListenerOptions): void;
    [Symbol.asyncIterator](): AsyncIterableIterator<StreamEvent<M[string]>>;
    #private;
}
export type StreamOptions = {
    /**
     * continue after this event
     */
    lastEventId?: string | undefined;
    /**
     * keep the position across reloads of the page, under this name
     */
    persist?: string | undefined;
    /**
     * use one connection for all tabs of this origin with the same request and
     * account; a string is the account
     */
    share?: string | boolean | undefined;
};
export type Options = RequestOptions & StreamOptions;
/**
 * The event that a listener gets for an event type. `M` maps event types to the types of their JSON data.
 */
export type EventOf<M extends Record<string, any>, K extends string> = K extends "open" ? Event : K extends "error" ? StreamError : K extends "*" ? CustomEvent<StreamEvent<M[string]>> : K extends `event:${infer T}` ? StreamEvent<M[T]> : StreamEvent<M[K]>;
import { StreamEvent } from "./events.js";
import type { StreamError } from "./events.js";
import type { RequestOptions } from "./request.js";
