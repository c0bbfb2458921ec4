/**
 * Return a page of the events after `since`, a position or `now`. Throws an error with `final` if another request
 * would fail too, for instance because the server has no history.
 *
 * @param {Fetch} fetch
 * @param {string} url
 * @param {RequestInit} init
 * @param {string} since
 * @returns {Promise<{ blocks: Block[], origin: string, next: string, more: boolean, ended: boolean }>}
 */
export function history(fetch: Fetch, url: string, init: RequestInit, since: string): Promise<{
    blocks: Block[];
    origin: string;
    next: string;
    more: boolean;
    ended: boolean;
}>;
import type { Fetch } from "./request.js";
import type { Block } from "./decoder.js";
