/**
 * Return the request for a stream. Throws a SyntaxError if `address` is not a URL, and a TypeError if a header
 * cannot be sent.
 *
 * @param {string | URL} address
 * @param {RequestOptions} options
 */
export function streamRequest(address: string | URL, options: RequestOptions): {
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
export const VERSION: "0.1.0";
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 */
export type Attempt = {
    failures: number;
};
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;
/**
 * The argument of a function for headers, ticket or body: how many attempts failed in a row before this one.
 */
export type RequestOptions = {
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
export type StreamRequest = ReturnType<typeof streamRequest>;
