/** @import { Block } from "./decoder.js" */
/**
 * An event of the stream: a MessageEvent with its topic, if the server sends it.
 *
 * @template [T=any]
 * @extends {MessageEvent<string>}
 */
export class StreamEvent<T = any> extends MessageEvent<string> {
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
export const streamError: (failure: Failure) => StreamError;
/**
 * Why there is no stream now. `reason` is one of
 *
 * - `status`: the status is not 200; `type`: the content type is not text/event-stream
 * - `redirect`: the server redirects, and the request has headers or a body, which must not go anywhere else
 * - `end`: the server ended the stream; `done`: for good (204, or all topics have ended)
 * - `network`: no answer, or the connection broke; `silent`: nothing was received for too long
 * - `size`: an event is larger than 16 MiB; `request`: the request could not be made
 */
export type Failure = {
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
export type StreamError = Event & Failure;
import type { Block } from "./decoder.js";
