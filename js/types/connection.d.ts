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
export function connect(url: string, init: RequestInit, client: Client): Promise<Outcome>;
/** Whether another request would be refused with the same status. @type {(status: number) => boolean} */
export const isFinal: (status: number) => boolean;
/**
 * How a connection ended. `final` if another one would end the same way.
 */
export type Outcome = {
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
export type Client = {
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
import type { Fetch } from "./request.js";
import type { Decoder } from "./decoder.js";
import type { Block } from "./decoder.js";
