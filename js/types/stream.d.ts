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
export class EventStream<M extends Record<string, any> = Record<string, any>> extends EventTarget {
    static CONNECTING: number;
    static OPEN: number;
    static CLOSED: number;
    /**
     * Throws a SyntaxError where `url` is none, and a TypeError for headers that no request can carry.
     *
     * @param {string | URL} url
     * @param {Options} [options]
     */
    constructor(url: string | URL, options?: Options);
    CONNECTING: number;
    OPEN: number;
    CLOSED: number;
    /** @type {((event: Event) => void) | null} */
    onopen: ((event: Event) => void) | null;
    /** @type {((event: StreamEvent<M["message"]>) => void) | null} */
    onmessage: ((event: StreamEvent<M["message"]>) => void) | null;
    /** @type {((event: StreamError) => void) | null} */
    onerror: ((event: StreamError) => void) | null;
    url: string;
    withCredentials: boolean;
    get readyState(): 0 | 2 | 1;
    /** The id of the newest event that was handed out: where a new stream would go on. */
    get lastEventId(): string;
    /** Whose connection it is: this tab's alone (`solo`), or one that it holds for others (`leader`) or hears (`follower`). */
    get role(): string;
    /** Leave for good. No event tells of it, and none comes after it. */
    close(): void;
    /** Try again now instead of waiting, and look whether an open connection still lives. */
    reconnect(): void;
    /**
     * Return the events from now on, for `for await`. Reading from the server stops while
     * `buffer` of them wait to be taken. A shared connection does not stop for one tab: there the loop ends with a
     * RangeError.
     *
     * @param {{ buffer?: number }} [options]
     * @returns {AsyncIterableIterator<StreamEvent<M[string]>>}
     */
    events({ buffer }?: {
        buffer?: number;
    }): AsyncIterableIterator<StreamEvent<M[string]>>;
    /**
     * Listen to one type of event, or to `*`: a CustomEvent whose `detail` is the event, whatever its type.
     *
     * @template {string} K
     * @param {K} type
     * @param {((event: EventOf<M, K>) => void) | EventListenerObject | null} listener
     * @param {boolean | AddEventListenerOptions} [options]
     */
    addEventListener<K extends string>(type: K, listener: ((event: EventOf<M, K>) => void) | EventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
    [Symbol.asyncIterator](): AsyncIterableIterator<StreamEvent<M[string]>>;
    #private;
}
export type StreamOptions = {
    /**
     * go on after this event
     */
    lastEventId?: string | undefined;
    /**
     * keep the position across a reload of the page, under this name
     */
    persist?: string | undefined;
    /**
     * one connection for all tabs of this origin that ask for the same and give the
     * same account
     */
    share?: string | boolean | undefined;
};
export type Options = RequestOptions & StreamOptions;
/**
 * What a listener is given for a type of event; `M` says what the data of which type is, as JSON.
 */
export type EventOf<M extends Record<string, any>, K extends string> = K extends "open" ? Event : K extends "error" ? StreamError : K extends "*" ? CustomEvent<StreamEvent<M[string]>> : K extends "gap" | "end" ? CustomEvent<Record<string, any>> : StreamEvent<M[K]>;
import { StreamEvent } from "./events.js";
import type { StreamError } from "./events.js";
import type { RequestOptions } from "./request.js";
