/** @import { Block } from "./decoder.js" */
/**
 * Return a page of what came after `since`, a position or `now`. Throws where there are none.
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
