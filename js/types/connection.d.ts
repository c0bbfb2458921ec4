/**
 * How a connection ended; `final` where another one would end the same way.
 *
 * @typedef {object} Outcome
 * @property {string} reason as in `Failure`
 * @property {string} [message]
 * @property {boolean} [final]
 * @property {number} [status]
 * @property {Record<string, string>} [headers]
 */
/**
 * Who wants the connection. `wait` is called whenever something is awaited; `read` with the blocks of every
 * chunk, and it may hold up the reading by its promise.
 *
 * @typedef {object} Client
 * @property {Decoder} decoder
 * @property {AbortSignal} signal whose reason is the `Outcome`
 * @property {(heartbeat: number) => void} opened with the seconds between two signs of life; 0 is not known
 * @property {() => void} wait
 * @property {(blocks: Block[], origin: string) => unknown} read
 */
/**
 * Connect, read to the end and tell how it was. Never throws.
 *
 * @param {string} url
 * @param {RequestInit} init
 * @param {Client} client
 * @returns {Promise<Outcome>}
 */
export function connect(url: string, init: RequestInit, client: Client): Promise<Outcome>;
/**
 * How a connection ended; `final` where another one would end the same way.
 */
export type Outcome = {
    /**
     * as in `Failure`
     */
    reason: string;
    message?: string | undefined;
    final?: boolean | undefined;
    status?: number | undefined;
    headers?: Record<string, string> | undefined;
};
/**
 * Who wants the connection. `wait` is called whenever something is awaited; `read` with the blocks of every
 * chunk, and it may hold up the reading by its promise.
 */
export type Client = {
    decoder: Decoder;
    /**
     * whose reason is the `Outcome`
     */
    signal: AbortSignal;
    /**
     * with the seconds between two signs of life; 0 is not known
     */
    opened: (heartbeat: number) => void;
    wait: () => void;
    read: (blocks: Block[], origin: string) => unknown;
};
import type { Decoder } from "./decoder.js";
import type { Block } from "./decoder.js";
