/** @import { Block } from "./decoder.js" */
/**
 * Whether a term (a topic or pattern) matches a topic. `*` matches one level, a last `**` one or more.
 *
 * @param {string} term
 * @param {string} topic
 */
export function matches(term: string, topic: string): boolean;
/**
 * Whether a block of a shared connection is for a tab with these topics. A block without a topic is for all tabs: a
 * stream of one topic does not send it.
 *
 * @param {string[]} mine
 * @param {Block} block
 */
export function concerns(mine: string[], { type, topic, data }: Block): any;
/**
 * Whether an id is a position at or before another one in the same life of the log.
 *
 * @param {string} id
 * @param {string} mine
 */
export function isBefore(id: string, mine: string): boolean;
/** Whether all topics are among the terms. @type {(terms: string[], topics: string[]) => boolean} */
export const covers: (terms: string[], topics: string[]) => boolean;
import type { Block } from "./decoder.js";
