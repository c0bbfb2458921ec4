/**
 * Return the number of failures in a row after a connection, and how long to wait.
 *
 * @param {{ reason: string, headers?: Record<string, string> }} outcome how the connection ended
 * @param {number} lived milliseconds for which it was open
 * @param {boolean} received whether anything was received
 * @param {number} failures in a row before it
 * @param {number | undefined} retry the server's `retry:`
 */
declare function backoff({ reason, headers }: {
    reason: string;
    headers?: Record<string, string>;
}, lived: number, received: boolean, failures: number, retry: number | undefined): {
    failures: number;
    delay: number;
};
/**
 * How a connection ended. `final` if another one would end the same way.
 *
 * @typedef {object} Outcome
 * @property {string} reason as in `Failure`
 * @property {string} message
 * @property {boolean} [final]
 * @property {number} [status]
 * @property {Record<string, string>} [headers]
 */
/**
 * The user of a connection. `wait` is called before each wait for the server; `read` with the blocks of each
 * chunk. Reading pauses until the promise of `read` resolves.
 *
 * @typedef {object} Client
 * @property {Fetch} fetch
 * @property {Decoder} decoder
 * @property {AbortSignal} signal its reason is the `Outcome`
 * @property {(heartbeat: number) => void} opened with the seconds between two heartbeats; 0 if unknown
 * @property {() => void} wait
 * @property {(blocks: Block[], origin: string) => unknown} read
 */
/**
 * Connect, read to the end and return how it ended. Never throws.
 *
 * @param {string} url
 * @param {RequestInit} init
 * @param {Client} client
 * @returns {Promise<Outcome>}
 */
declare function connect(url: string, init: RequestInit, client: Client): Promise<Outcome>;
/** Whether another request would be refused with the same status. @type {(status: number) => boolean} */
declare const isFinal: (status: number) => boolean;
/**
 * How a connection ended. `final` if another one would end the same way.
 */
declare type Outcome = {
    /**
     * as in `Failure`
     */
    reason: string;
    message: string;
    final?: boolean | undefined;
    status?: number | undefined;
    headers?: Record<string, string> | undefined;
};
/**
 * The user of a connection. `wait` is called before each wait for the server; `read` with the blocks of each
 * chunk. Reading pauses until the promise of `read` resolves.
 */
declare type Client = {
    fetch: Fetch;
    decoder: Decoder;
    /**
     * its reason is the `Outcome`
     */
    signal: AbortSignal;
    /**
     * with the seconds between two heartbeats; 0 if unknown
     */
    opened: (heartbeat: number) => void;
    wait: () => void;
    read: (blocks: Block[], origin: string) => unknown;
};
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
declare function decoder(lastEventId?: string): {
    lastEventId: string;
    /** The server's reconnection time, in milliseconds. @type {number | undefined} */
    retry: number | undefined;
    /** Start a new connection: drop an unfinished block, keep `lastEventId` and `retry`. */
    reset(): void;
    /**
     * Return the blocks that end in this chunk. Throws a RangeError if one is larger than 16 MiB.
     *
     * @param {Uint8Array} chunk
     * @returns {Block[]}
     */
    feed(chunk: Uint8Array): Block[];
};
/**
 * A block of a stream. `topic` is Tidewire's own field; it is sent if a stream may have more than one topic.
 */
declare type Block = {
    type: string;
    data: string;
    lastEventId: string;
    topic?: string;
};
/**
 * A block of a stream. `topic` is Tidewire's own field; it is sent if a stream may have more than one topic.
 */
declare type Decoder = ReturnType<typeof decoder>;
/** @import { Block } from "./decoder.js" */
/**
 * An event of the stream: a MessageEvent with its topic, if the server sends it.
 *
 * @template [T=any]
 * @extends {MessageEvent<string>}
 */
declare class StreamEvent<T = any> extends MessageEvent<string> {
    /** @param {Block & { origin?: string }} block */
    constructor({ type, topic, ...init }: Block & {
        origin?: string;
    });
    topic: string | undefined;
    /**
     * Return the data parsed as JSON.
     * @returns {T}
     */
    json(): T;
}
/**
 * Why there is no stream now. `reason` is one of
 *
 * - `status`: the status is not 200; `type`: the content type is not text/event-stream
 * - `redirect`: the server redirects, and the request has headers or a body, which must not go anywhere else
 * - `end`: the server ended the stream; `done`: for good (204, or all topics have ended)
 * - `network`: no answer, or the connection broke; `silent`: nothing was received for too long
 * - `size`: an event is larger than 16 MiB; `request`: the request could not be made
 *
 * @typedef {object} Failure
 * @property {string} reason
 * @property {string} message details, for people
 * @property {number} [status] of the answer, if there was one
 * @property {Record<string, string>} [headers] of the answer, with names in lower case
 * @property {boolean} final whether the stream is closed now
 * @property {number} failures failed attempts in a row
 * @property {number} delay milliseconds until the next attempt
 */
/** @typedef {Event & Failure} StreamError The stream broke, or could not be opened. */
/** @type {(failure: Failure) => StreamError} */
declare const streamError: (failure: Failure) => StreamError;
/**
 * Why there is no stream now. `reason` is one of
 *
 * - `status`: the status is not 200; `type`: the content type is not text/event-stream
 * - `redirect`: the server redirects, and the request has headers or a body, which must not go anywhere else
 * - `end`: the server ended the stream; `done`: for good (204, or all topics have ended)
 * - `network`: no answer, or the connection broke; `silent`: nothing was received for too long
 * - `size`: an event is larger than 16 MiB; `request`: the request could not be made
 */
declare type Failure = {
    reason: string;
    /**
     * details, for people
     */
    message: string;
    /**
     * of the answer, if there was one
     */
    status?: number | undefined;
    /**
     * of the answer, with names in lower case
     */
    headers?: Record<string, string> | undefined;
    /**
     * whether the stream is closed now
     */
    final: boolean;
    /**
     * failed attempts in a row
     */
    failures: number;
    /**
     * milliseconds until the next attempt
     */
    delay: number;
};
/**
 * The stream broke, or could not be opened.
 */
declare type StreamError = Event & Failure;
/**
 * Return a page of the events after `since`, a position or `now`. Throws an error with `final` if another request
 * would fail too, for instance because the server has no history.
 *
 * @param {Fetch} fetch
 * @param {string} url
 * @param {RequestInit} init
 * @param {string} since
 * @returns {Promise<{ blocks: Block[], origin: string, next: string, more: boolean, ended: boolean }>}
 */
declare function history(fetch: Fetch, url: string, init: RequestInit, since: string): Promise<{
    blocks: Block[];
    origin: string;
    next: string;
    more: boolean;
    ended: boolean;
}>;
/**
 * Call back on each change, until the signal is aborted.
 *
 * @param {AbortSignal} signal
 * @param {object} changes
 * @param {() => void} changes.leave the page is unloaded, cached or frozen
 * @param {() => void} changes.back the page is active again
 * @param {() => void} changes.show the page is visible or online again
 * @param {() => void} changes.hide
 */
declare function watchPage(signal: AbortSignal, { leave, back, show, hide }: {
    leave: () => void;
    back: () => void;
    show: () => void;
    hide: () => void;
}): void;
/**
 * Read an item of the tab's storage, which survives a reload, after writing it if there is a value. Without access
 * to the storage return null.
 *
 * @param {string} key
 * @param {string} [value]
 */
declare function stored(key: string, value?: string): string | null;
declare function hidden(): boolean;
/** @import { StreamEvent } from "./events.js" */
/**
 * Return an iterator for a loop. `push` adds an event; `end` ends the loop after the events in the queue.
 *
 * @param {number} limit
 * @param {() => void} changed called when an event was read, and when the loop is left
 */
declare function eventQueue(limit: number, changed: () => void): {
    over: boolean;
    full: () => boolean;
    /** @param {StreamEvent} event */
    push(event: StreamEvent): void;
    /** @param {Error} [error] */
    end(error?: Error): void;
    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    next(): Promise<IteratorResult<StreamEvent>>;
    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    return(): Promise<IteratorResult<StreamEvent>>;
    [Symbol.asyncIterator]: () => /*elided*/ any;
};
/**
 * Return the request for a stream. Throws a SyntaxError if `address` is not a URL, and a TypeError if a header
 * cannot be sent.
 *
 * @param {string | URL} address
 * @param {RequestOptions} options
 */
declare function streamRequest(address: string | URL, options: RequestOptions): {
    url: string;
    topics: string[];
    credentials: RequestCredentials;
    /** @type {Fetch} */
    fetch: Fetch;
    /** Whether the last id may go in the query instead of the header, which needs a preflight. */
    idByQuery: boolean;
    /** The headers of every attempt; undefined if a function returns them. */
    fixed: [string, string][] | undefined;
    /** Whether the next attempt may have another token or ticket. */
    renews: boolean;
    /** Return the URL with other topics. @param {string[]} topics */
    urlFor(topics: string[]): string;
    complete(address: string, lastEventId: string, attempt: Attempt): Promise<string>;
    /**
     * Return the options for fetch().
     *
     * @param {Attempt} attempt
     * @param {string} lastEventId
     * @returns {Promise<RequestInit>}
     */
    init(attempt: Attempt, lastEventId: string): Promise<RequestInit>;
};
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 *
 * @typedef {{ failures: number }} Attempt
 *
 * @typedef {(url: string, init: RequestInit) => Promise<Response>} Fetch
 *
 * @typedef {object} RequestOptions
 * @property {boolean} [withCredentials] send cookies to other origins too
 * @property {RequestCredentials} [credentials] instead, any value that fetch() accepts
 * @property {HeadersInit | ((attempt: Attempt) => HeadersInit | Promise<HeadersInit>)} [headers] or a function
 *   that returns them for each attempt
 * @property {(attempt: Attempt) => string | Promise<string>} [ticket] returns a ticket for each attempt, which is sent
 *   as `ticket=`
 * @property {string} [method]
 * @property {BodyInit | ((attempt: Attempt) => BodyInit | Promise<BodyInit>)} [body] or such a function
 * @property {string[]} [topics] topics and patterns, added to the URL as `topic=`
 * @property {string} [idParameter] for a server of another origin that answers no preflight: the query parameter in
 *   which it reads the last id. It is used from the first failure of a request with the header `Last-Event-ID`
 * @property {Fetch} [fetch] called instead of the global fetch()
 *
 * @typedef {ReturnType<typeof streamRequest>} StreamRequest
 */
declare const VERSION: "0.1.0";
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 */
declare type Attempt = {
    failures: number;
};
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 */
declare type Fetch = (url: string, init: RequestInit) => Promise<Response>;
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 */
declare type RequestOptions = {
    /**
     * send cookies to other origins too
     */
    withCredentials?: boolean | undefined;
    /**
     * instead, any value that fetch() accepts
     */
    credentials?: RequestCredentials | undefined;
    /**
     * or a function
     * that returns them for each attempt
     */
    headers?: HeadersInit | ((attempt: Attempt) => HeadersInit | Promise<HeadersInit>) | undefined;
    /**
     * returns a ticket for each attempt, which is sent
     * as `ticket=`
     */
    ticket?: ((attempt: Attempt) => string | Promise<string>) | undefined;
    method?: string | undefined;
    /**
     * or such a function
     */
    body?: BodyInit | ((attempt: Attempt) => BodyInit | Promise<BodyInit>) | undefined;
    /**
     * topics and patterns, added to the URL as `topic=`
     */
    topics?: string[] | undefined;
    /**
     * for a server of another origin that answers no preflight: the query parameter in
     * which it reads the last id. It is used from the first failure of a request with the header `Last-Event-ID`
     */
    idParameter?: string | undefined;
    /**
     * called instead of the global fetch()
     */
    fetch?: Fetch | undefined;
};
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 */
declare type StreamRequest = ReturnType<typeof streamRequest>;
/**
 * @param {string | true} account only tabs with the same account share the connection
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
declare function sharedSource(account: string | true, request: StreamRequest, sink: Sink): {
    /** The newest id received, of any topic. */
    lastEventId: string;
    readonly role: "solo" | "leader" | "follower";
    /** @param {string} lastEventId */
    start(lastEventId: string): void;
    stop(): void;
    retryNow(): void;
    hide: () => void | undefined;
};
/**
 * The user of a source. Reading pauses until the promise of `take` resolves. If `failed` returns true, the source
 * continues even after a final failure.
 *
 * @typedef {object} Sink
 * @property {() => void} opened
 * @property {(blocks: Block[], origin: string) => unknown} take
 * @property {(failure: Failure) => unknown} failed
 */
/**
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
declare function ownSource(request: StreamRequest, sink: Sink): {
    role: string;
    /** Whether a connection is open. */
    live: boolean;
    /** How long the server may be silent, in milliseconds; 0 means forever. */
    timeout: number;
    readonly lastEventId: string;
    /** @param {string} lastEventId */
    start(lastEventId: string): void;
    stop(): void;
    /** Reconnect without reporting a failure. */
    restart(): void;
    /** End a wait between attempts, and check whether an open connection is alive. */
    retryNow(): void;
    hide(): void;
};
/**
 * The user of a source. Reading pauses until the promise of `take` resolves. If `failed` returns true, the source
 * continues even after a final failure.
 */
declare type Sink = {
    opened: () => void;
    take: (blocks: Block[], origin: string) => unknown;
    failed: (failure: Failure) => unknown;
};
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
declare class EventStream<M extends Record<string, any> = Record<string, any>> extends EventTarget {
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
declare type StreamOptions = {
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
declare type Options = RequestOptions & StreamOptions;
/**
 * The event that a listener gets for an event type. `M` maps event types to the types of their JSON data.
 */
declare type EventOf<M extends Record<string, any>, K extends string> = K extends "open" ? Event : K extends "error" ? StreamError : K extends "*" ? CustomEvent<StreamEvent<M[string]>> : K extends `event:${infer T}` ? StreamEvent<M[T]> : StreamEvent<M[K]>;
/**
 * The state of the leader's connection: whether it is open, the server's timeout, the topics that it carries or
 * carried last, and those that it requested since.
 *
 * @typedef {{ live: boolean, timeout: number, carried: string[], requested: string[], lastEventId: string }} State
 *
 * A message of the leader: its state, and what has happened.
 *
 * @typedef {State & { blocks?: Block[], origin?: string, failure?: Failure }} Message
 *
 * @typedef {object} Callbacks
 * @property {() => void} lead this tab leads now
 * @property {() => void} stepDown this tab does not lead any more
 * @property {() => State} state
 * @property {() => void} topicsChanged another tab may want more topics
 * @property {(message: Message) => void} follow
 */
/**
 * @param {string} name of the lock and the channel: the same for tabs that may share
 * @param {string[]} topics
 * @param {Callbacks} callbacks
 */
declare function joinTabs(name: string, topics: string[], callbacks: Callbacks): {
    /** Whether this tab holds the connection. */
    leading: boolean;
    /** Return the topics of all tabs. */
    allTopics: () => string[];
    /** Announce this tab to the leader. A leader that does not answer is replaced. */
    announce(): void;
    /** If this tab leads, send its state to the others. @param {Partial<Message>} [news] */
    broadcast(news?: Partial<Message>): void;
    leave(): void;
};
/**
 * A message of the leader: its state, and what has happened.
 */
declare type State = {
    live: boolean;
    timeout: number;
    carried: string[];
    requested: string[];
    lastEventId: string;
};
/**
 * The state of the leader's connection: whether it is open, the server's timeout, the topics that it carries or
 * carried last, and those that it requested since.
 */
declare type Message = State & {
    blocks?: Block[];
    origin?: string;
    failure?: Failure;
};
/**
 * The state of the leader's connection: whether it is open, the server's timeout, the topics that it carries or
 * carried last, and those that it requested since.
 */
declare type Callbacks = {
    /**
     * this tab leads now
     */
    lead: () => void;
    /**
     * this tab does not lead any more
     */
    stepDown: () => void;
    state: () => State;
    /**
     * another tab may want more topics
     */
    topicsChanged: () => void;
    follow: (message: Message) => void;
};
/** @import { Block } from "./decoder.js" */
/**
 * Whether a term (a topic or pattern) matches a topic. `*` matches one level, a last `**` one or more.
 *
 * @param {string} term
 * @param {string} topic
 */
declare function matches(term: string, topic: string): boolean;
/**
 * Whether a block of a shared connection is for a tab with these topics. A block without a topic is for all tabs: a
 * stream of one topic does not send it.
 *
 * @param {string[]} mine
 * @param {Block} block
 */
declare function concerns(mine: string[], { type, topic, data }: Block): any;
/**
 * Whether an id is a position at or before another one in the same life of the log.
 *
 * @param {string} id
 * @param {string} mine
 */
declare function isBefore(id: string, mine: string): boolean;
/** Whether all topics are among the terms. @type {(terms: string[], topics: string[]) => boolean} */
declare const covers: (terms: string[], topics: string[]) => boolean;
/**
 * Return a watchdog that calls `bark` if nothing was heard for `timeout` milliseconds; 0 means never. After the
 * machine slept it waits a second more, since what arrived in the meantime has not been read yet.
 *
 * @param {() => void} bark
 */
declare function watchdog(bark: () => void, timeout?: number): {
    timeout: number;
    stop: () => void;
    /** Something was heard, or the wait for it starts now. */
    hear(): void;
    /** The page was suspended, and its timers with it: check now. */
    check(): void;
};
export { decoder, StreamEvent, EventStream, StreamError, Options };
