/** @import { Block } from "./decoder.js" */
/**
 * Return a page of the events after `since`, a position or `now`. Throws if the server has no history.
 *
 * @param {string} url
 * @param {RequestInit} init
 * @param {string} since
 * @returns {Promise<{ blocks: Block[], origin: string, next: string, more: boolean, ended: boolean }>}
 */
export function history(url: string, init: RequestInit, since: string): Promise<{
    blocks: Block[];
    origin: string;
    next: string;
    more: boolean;
    ended: boolean;
}>;
import type { Block } from "./decoder.js";
