// Which of a shared connection's events are this tab's: by topic, and by position.

/** @import { Block } from "./decoder.js" */

/**
 * Whether a topic is the term, or a pattern matches it: `*` is one whole level, a last `**` one or more.
 *
 * @param {string} term
 * @param {string} topic
 */
export function matches(term, topic) {
  const wanted = term.split("/");
  const levels = topic.split("/");
  return (
    (wanted.at(-1) === "**" || wanted.length === levels.length) &&
    wanted.every((level, index) => index in levels && ["*", "**", levels[index]].includes(level))
  );
}

/** Whether all of these topics are among the terms. @type {(terms: string[], topics: string[]) => boolean} */
export const covers = (terms, topics) => topics.every((topic) => terms.includes(topic));

/**
 * Whether a block of a shared connection concerns one who listens to these topics. A block without a topic
 * belongs to all: a stream of one topic does not name it.
 *
 * @param {string[]} mine
 * @param {Block} block
 */
export function concerns(mine, { type, topic, data }) {
  // What the hub says of a gap or an end names the topics, or the one, in its data.
  const said = /^hub\.(gap|end)$/.test(type) ? JSON.parse(data) : {};
  const topics = said.topics ?? [said.topic ?? topic];
  return !mine.length || topics.some((/** @type {string} */ one) => !one || mine.some((term) => matches(term, one)));
}

/**
 * Whether an id is a position at or before another one of the same life of the log.
 *
 * @param {string} id
 * @param {string} mine
 */
export function isBefore(id, mine) {
  const [life, offset] = id.split(".");
  const [same, last] = mine.split(".");
  return life === same && Number(offset) <= Number(last);
}
