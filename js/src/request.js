// The request: its URL, and the options of fetch() for each attempt.

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
 * Return the request for a stream. Throws a SyntaxError if `address` is not a URL, and a TypeError if a header
 * cannot be sent.
 *
 * @param {string | URL} address
 * @param {RequestOptions} options
 */
export function streamRequest(address, options) {
  const { method, headers: given, ticket, body: content, idParameter } = options;
  const url = parse(address);
  for (const topic of options.topics ?? []) url.searchParams.append("topic", topic);
  const credentials = options.credentials ?? (options.withCredentials ? "include" : "same-origin");
  const fixed = typeof given === "function" ? undefined : [...new Headers(given)];
  const sameOrigin = url.origin === (globalThis.location ?? url).origin;

  return {
    url: url.href,
    topics: url.searchParams.getAll("topic"),
    credentials,
    /** @type {Fetch} */
    fetch: options.fetch ?? ((url, init) => fetch(url, init)),
    /** Whether the last id may go in the query instead of the header, which needs a preflight. */
    idByQuery: !!idParameter && !sameOrigin,
    /** The headers of every attempt; undefined if a function returns them. */
    fixed,
    /** Whether the next attempt may have another token or ticket. */
    renews: !fixed || !!ticket,

    /** Return the URL with other topics. @param {string[]} topics */
    urlFor(topics) {
      const other = new URL(url);
      other.searchParams.delete("topic");
      for (const topic of topics) other.searchParams.append("topic", topic);
      return other.href;
    },

    /**
     * Return the URL for an attempt, with what goes in its query: a last id and a ticket.
     *
     * @type {(address: string, lastEventId: string, attempt: Attempt) => Promise<string>}
     */
    async complete(address, lastEventId, attempt) {
      const other = new URL(address);
      if (lastEventId) other.searchParams.set(idParameter ?? "", lastEventId);
      if (ticket) other.searchParams.set("ticket", await ticket(attempt));
      return other.href;
    },

    /**
     * Return the options for fetch().
     *
     * @param {Attempt} attempt
     * @param {string} lastEventId
     * @returns {Promise<RequestInit>}
     */
    async init(attempt, lastEventId) {
      const headers = new Headers(typeof given === "function" ? await given(attempt) : given);
      const body = typeof content === "function" ? await content(attempt) : content;
      // fetch() would send headers (but for Authorization) and a body to wherever a redirect leads.
      const redirect = body != null || [...headers].length ? "manual" : "follow";
      headers.set("Accept", "text/event-stream");
      // A server of another origin may not allow this header in CORS.
      if (sameOrigin) headers.set("Tidewire-Client", `js/${VERSION}`);
      // "the UTF-8 encoding of the last event ID": fetch() sends each character of a header as one byte.
      const id = String.fromCharCode(...new TextEncoder().encode(lastEventId));
      if (id) headers.set("Last-Event-ID", id);
      return { method, headers, body, credentials, redirect, cache: "no-store" };
    },
  };
}
