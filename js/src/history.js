// Events that a tab missed before it joined a shared connection: pages of the hub's history.

/** @import { Block } from "./decoder.js" */
/** @import { Fetch } from "./request.js" */
import { isFinal } from "./connection.js";

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
export async function history(fetch, url, init, since) {
  const page = new URL(url);
  page.searchParams.set("since", since);
  const headers = new Headers(init.headers);
  headers.set("Accept", "application/json");
  const response = await fetch(page.href, { ...init, headers });
  const json = /json/.test(response.headers.get("Content-Type") ?? "");
  const { events, gap, ...rest } = json ? await response.json() : {};
  if (!events) throw Object.assign(new Error("no history"), { final: isFinal(response.status) });
  /** @type {Block[]} */
  const blocks = events.map((/** @type {any} */ { id, topic, event, data }) => {
    return { type: event, data, lastEventId: id, topic };
  });
  if (gap) blocks.unshift({ type: "hub.gap", data: JSON.stringify(gap), lastEventId: since });
  return { blocks, origin: page.origin, ...rest };
}
