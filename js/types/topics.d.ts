/** @import { Block } from "./decoder.js" */
/**
 * Whether a topic is the term, or a pattern matches it: `*` is one whole level, a last `**` one or more.
 *
 * @param {string} term
 * @param {string} topic
 */
export function matches(term: string, topic: string): boolean;
/**
 * Whether a block of a shared connection concerns one who listens to these topics. A block without a topic
 * belongs to all: a stream of one topic does not name it.
 *
 * @param {string[]} mine
 * @param {Block} block
 */
export function concerns(mine: string[], { type, topic, data }: Block): any;
/**
 * Whether an id is a position at or before another one of the same life of the log.
 *
 * @param {string} id
 * @param {string} mine
 */
export function isBefore(id: string, mine: string): boolean;
/** Whether all of these topics are among the terms. @type {(terms: string[], topics: string[]) => boolean} */
export const covers: (terms: string[], topics: string[]) => boolean;
import type { Block } from "./decoder.js";
