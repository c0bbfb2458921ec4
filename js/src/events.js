// The events that a stream dispatches.

/** @import { Block } from "./decoder.js" */

/**
 * An event of the stream: a MessageEvent with its topic, if the server sends it.
 *
 * @template [T=any]
 * @extends {MessageEvent<string>}
 */
export class StreamEvent extends MessageEvent {
  /** @param {Block & { origin?: string }} block */
  constructor({ type, topic, ...init }) {
    super(type, init);
    this.topic = topic;
  }

  /**
   * Return the data parsed as JSON.
   * @returns {T}
   */
  json() {
    return JSON.parse(this.data);
  }
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
export const streamError = (failure) => Object.assign(new Event("error"), failure);
