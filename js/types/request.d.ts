/**
 * Read what a stream is made with. Throws a SyntaxError where `address` is no URL, and a TypeError for headers
 * that no request can carry.
 *
 * @param {string | URL} address
 * @param {RequestOptions} options
 */
export function streamRequest(address: string | URL, options: RequestOptions): {
    url: string;
    topics: string[];
    credentials: RequestCredentials;
    /** The headers that go with every attempt; undefined where a function makes them. */
    fixed: [string, string][] | undefined;
    /** Return the URL for other topics. @param {string[]} topics */
    urlFor(topics: string[]): string;
    /**
     * Return what fetch() is told.
     *
     * @param {Attempt} attempt
     * @param {string} lastEventId
     * @returns {Promise<RequestInit>}
     */
    init(attempt: Attempt, lastEventId: string): Promise<RequestInit>;
};
/**
 * What a function for headers or body is told: how many attempts failed in a row before this one.
 *
 * @typedef {{ failures: number }} Attempt
 *
 * @typedef {object} RequestOptions
 * @property {boolean} [withCredentials] send cookies to other origins too
 * @property {RequestCredentials} [credentials] the same with all of fetch()'s choices
 * @property {HeadersInit | ((attempt: Attempt) => HeadersInit | Promise<HeadersInit>)} [headers] or a function
 *   that makes them for each attempt
 * @property {string} [method]
 * @property {BodyInit | ((attempt: Attempt) => BodyInit | Promise<BodyInit>)} [body] or such a function
 * @property {string[]} [topics] topics and patterns, added to the URL as `topic=`
 *
 * @typedef {ReturnType<typeof streamRequest>} StreamRequest
 */
export const VERSION: "0.1.0";
/**
 * What a function for headers or body is told: how many attempts failed in a row before this one.
 */
export type Attempt = {
    failures: number;
};
/**
 * What a function for headers or body is told: how many attempts failed in a row before this one.
 */
export type RequestOptions = {
    /**
     * send cookies to other origins too
     */
    withCredentials?: boolean | undefined;
    /**
     * the same with all of fetch()'s choices
     */
    credentials?: RequestCredentials | undefined;
    /**
     * or a function
     * that makes them for each attempt
     */
    headers?: HeadersInit | ((attempt: Attempt) => HeadersInit | Promise<HeadersInit>) | undefined;
    method?: string | undefined;
    /**
     * or such a function
     */
    body?: BodyInit | ((attempt: Attempt) => BodyInit | Promise<BodyInit>) | undefined;
    /**
     * topics and patterns, added to the URL as `topic=`
     */
    topics?: string[] | undefined;
};
/**
 * What a function for headers or body is told: how many attempts failed in a row before this one.
 */
export type StreamRequest = ReturnType<typeof streamRequest>;
