// Which events of a shared connection are for this tab: by topic, and by position.

/** @import { Block } from "./decoder.js" */

/**
 * Whether a term (a topic or pattern) matches a topic. `*` matches one level, a last `**` one or more.
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

/** Whether all topics are among the terms. @type {(terms: string[], topics: string[]) => boolean} */
export const covers = (terms, topics) => topics.every((topic) => terms.includes(topic));

/**
 * Whether a block of a shared connection is for a tab with these topics. A block without a topic is for all tabs: a
 * stream of one topic does not send it.
 *
 * @param {string[]} mine
 * @param {Block} block
 */
export function concerns(mine, { type, topic, data }) {
  // The hub's events for a gap and an end have their topics, or topic, in the data.
  const fields = /^hub\.(gap|end)$/.test(type) ? JSON.parse(data) : {};
  const topics = fields.topics ?? [fields.topic ?? topic];
  return !mine.length || topics.some((/** @type {string} */ one) => !one || mine.some((term) => matches(term, one)));
}

/**
 * Whether an id is a position at or before another one in the same life of the log.
 *
 * @param {string} id
 * @param {string} mine
 */
export function isBefore(id, mine) {
  const [life, offset] = id.split(".");
  const [same, last] = mine.split(".");
  return life === same && Number(offset) <= Number(last);
}
