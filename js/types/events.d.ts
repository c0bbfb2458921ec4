/** @import { Block } from "./decoder.js" */
/**
 * An event of the stream: a MessageEvent with its topic, where the stream names it.
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
     * Return the data, read as JSON.
     * @returns {T}
     */
    json(): T;
}
/**
 * Why there is no stream now. `reason` is one of
 *
 * - `status`: an answer other than 200; `type`: one that is no text/event-stream
 * - `end`: the server ended the stream; `done`: it did so for good (204, or every topic has ended)
 * - `network`: no answer, or the connection broke; `silent`: nothing came for too long
 * - `size`: an event of more than 16 MiB; `request`: it could not be made
 *
 * @typedef {object} Failure
 * @property {string} reason
 * @property {string} [message] more about it, for people
 * @property {number} [status] of the answer, if there was one
 * @property {Record<string, string>} [headers] of the answer, by their names in lower case
 * @property {boolean} final whether the stream is closed now
 * @property {number} failures attempts that failed in a row
 * @property {number} delay milliseconds until the next attempt
 */
/** @typedef {Event & Failure} StreamError The stream broke, or could not begin. */
/** @type {(failure: Failure) => StreamError} */
export const streamError: (failure: Failure) => StreamError;
/**
 * Why there is no stream now. `reason` is one of
 *
 * - `status`: an answer other than 200; `type`: one that is no text/event-stream
 * - `end`: the server ended the stream; `done`: it did so for good (204, or every topic has ended)
 * - `network`: no answer, or the connection broke; `silent`: nothing came for too long
 * - `size`: an event of more than 16 MiB; `request`: it could not be made
 */
export type Failure = {
    reason: string;
    /**
     * more about it, for people
     */
    message?: string | undefined;
    /**
     * of the answer, if there was one
     */
    status?: number | undefined;
    /**
     * of the answer, by their names in lower case
     */
    headers?: Record<string, string> | undefined;
    /**
     * whether the stream is closed now
     */
    final: boolean;
    /**
     * attempts that failed in a row
     */
    failures: number;
    /**
     * milliseconds until the next attempt
     */
    delay: number;
};
/**
 * The stream broke, or could not begin.
 */
export type StreamError = Event & Failure;
import type { Block } from "./decoder.js";
