// One connection: a request, its answer, and what is read until it ends.

/** @import { Block, Decoder } from "./decoder.js" */
/** @import { Fetch } from "./request.js" */

const REDIRECTS = [301, 302, 303, 307, 308];

// Request Timeout, Too Early, Too Many Requests: 4xx, but they may succeed later.
const TRANSIENT = [408, 425, 429];

/** Whether another request would be refused with the same status. @type {(status: number) => boolean} */
export const isFinal = (status) => status < 500 && !TRANSIENT.includes(status);

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
export async function connect(url, init, client) {
  try {
    client.wait();
    const response = await client.fetch(url, { ...init, signal: client.signal });
    const headers = Object.fromEntries(response.headers);
    const outcome = { status: response.status || undefined, headers, ...(await refusal(response, headers)) };
    if (outcome.reason !== "end") return outcome;
    client.opened(Number(headers["tidewire-heartbeat"]) || 0);
    await read(response, url, client);
    return outcome;
  } catch (error) {
    if (client.signal.aborted) return client.signal.reason;
    const final = error instanceof RangeError;
    return { reason: final ? "size" : "network", message: String(error), final };
  }
}

/** @type {(response: Response, url: string, client: Client) => Promise<void>} */
async function read(response, url, { decoder, signal, wait, read }) {
  const { origin } = new URL(response.url || url);
  decoder.reset();
  const reader = response.body?.getReader();
  for (;;) {
    wait();
    const { value } = (await reader?.read()) ?? {};
    // Bytes that will not be dispatched must not count as read.
    if (!value || signal.aborted) return;
    await read(decoder.feed(value), origin);
  }
}

/**
 * Return why an answer is not a stream; for a stream, the outcome of its end.
 *
 * @param {Response} response
 * @param {Record<string, string>} headers
 */
async function refusal(response, headers) {
  const { status, statusText } = response;
  const type = headers["content-type"] ?? "";
  // A redirect that fetch() was told not to follow. Browsers hide the answer, Node does not.
  if (response.type === "opaqueredirect" || (REDIRECTS.includes(status) && headers.location)) {
    return { reason: "redirect", message: "a request with headers or a body does not follow redirects", final: true };
  }
  if (status === 204) return { reason: "done", message: "status 204: there is nothing more to come", final: true };
  if (status === 200) {
    if (/^text\/event-stream\s*(;|$)/i.test(type)) return { reason: "end", message: "the server ended the stream" };
    return { reason: "type", message: `the content type is ${type || "missing"}, not text/event-stream`, final: true };
  }
  const problem = /json/.test(type) ? await response.json().catch(() => {}) : undefined;
  // Servers that are not hubs may send a `detail` that is not text.
  const message = typeof problem?.detail === "string" ? problem.detail : `status ${status} ${statusText}`.trim();
  return { reason: "status", message, final: isFinal(status) };
}
