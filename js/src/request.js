// What is asked for: the URL, and what fetch() is told with each attempt.

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

export const VERSION = "0.1.0";

/** @param {string | URL} text */
function parse(text) {
  try {
    return new URL(text, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    throw new DOMException(`${text}`, "SyntaxError");
  }
}

/**
 * Read what a stream is made with. Throws a SyntaxError where `address` is no URL, and a TypeError for headers
 * that no request can carry.
 *
 * @param {string | URL} address
 * @param {RequestOptions} options
 */
export function streamRequest(address, options) {
  const { method, headers: made, body: content } = options;
  const url = parse(address);
  for (const topic of options.topics ?? []) url.searchParams.append("topic", topic);
  const credentials = options.credentials ?? (options.withCredentials ? "include" : "same-origin");
  const fixed = typeof made === "function" ? undefined : [...new Headers(made)];

  return {
    url: url.href,
    topics: url.searchParams.getAll("topic"),
    credentials,
    /** The headers that go with every attempt; undefined where a function makes them. */
    fixed,

    /** Return the URL for other topics. @param {string[]} topics */
    urlFor(topics) {
      const other = new URL(url);
      other.searchParams.delete("topic");
      for (const topic of topics) other.searchParams.append("topic", topic);
      return other.href;
    },

    /**
     * Return what fetch() is told.
     *
     * @param {Attempt} attempt
     * @param {string} lastEventId
     * @returns {Promise<RequestInit>}
     */
    async init(attempt, lastEventId) {
      const headers = new Headers(typeof made === "function" ? await made(attempt) : made);
      const body = typeof content === "function" ? await content(attempt) : content;
      headers.set("Accept", "text/event-stream");
      // Another origin's server may not allow this one, and need not know it.
      if (url.origin === (globalThis.location ?? url).origin) headers.set("Tidewire-Client", `js/${VERSION}`);
      // "the UTF-8 encoding of the last event ID": fetch takes header text byte by byte.
      const id = String.fromCharCode(...new TextEncoder().encode(lastEventId));
      if (id) headers.set("Last-Event-ID", id);
      return { method, headers, body, credentials, cache: "no-store" };
    },
  };
}
