// @ts-check
// The filter of a table: words that must all hold. Pure.
//
//   paid            the data, the type, the topic or the id has this text
//   type:order.*    the type is this; * stands for any text. Also topic: id: kind:
//   data.total>100  this member of the JSON data; also = < and deeper: data.user.name=ann
//   /re(gex)/i      the data matches
//   -type:ping      a minus in front turns a word round

/** @import { Row } from "./ring.js" */

/** @typedef {(row: Row) => boolean} Test */

/**
 * Return a function that says whether a row is shown. Throws a SyntaxError if a regular expression is not valid.
 *
 * @param {string} text
 * @returns {Test}
 */
export function filter(text) {
  const tests = words(text).map(test);
  return (row) => tests.every((one) => one(row));
}

/**
 * Split at spaces, but not in "quotes" or in /regular expressions/.
 *
 * @param {string} text
 */
function words(text) {
  return text.match(/-?\/(?:\\.|[^\\/])+\/[a-z]*(?=\s|$)|(?:"[^"]*"|[^\s"])+|"/g) ?? [];
}

/**
 * @param {string} word
 * @returns {Test}
 */
function test(word) {
  if (word.length > 1 && word.startsWith("-")) {
    const positive = test(word.slice(1));
    return (row) => !positive(row);
  }
  const expression = /^\/(.+)\/([a-z]*)$/.exec(word);
  if (expression) {
    const regex = new RegExp(expression[1] ?? "", (expression[2] ?? "").replace(/[gy]/g, ""));
    return (row) => regex.test(row.text);
  }
  const [, field, pattern] = /^(type|topic|id|kind):(.*)$/.exec(word) ?? [];
  if (field && pattern !== undefined) {
    const regex = wildcard(unquoted(pattern));
    return (row) => regex.test(row[/** @type {"type" | "topic" | "id" | "kind"} */ (field)]);
  }
  const [, path, sign, value] = /^data\.([^=<>]+)([=<>])(.*)$/.exec(word) ?? [];
  if (path && sign && value !== undefined) return compare(path.split("."), sign, unquoted(value));
  const part = unquoted(word).toLowerCase();
  return (row) =>
    row.text.toLowerCase().includes(part) ||
    row.type.toLowerCase().includes(part) ||
    row.topic.toLowerCase().includes(part) ||
    row.id.toLowerCase().includes(part);
}

/** @param {string} text */
const unquoted = (text) => text.replaceAll('"', "");

/** @param {string} text */
const wildcard = (text) =>
  new RegExp(`^${text.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&")).join(".*")}$`, "is");

/**
 * @param {string[]} path
 * @param {string} sign
 * @param {string} wanted
 * @returns {Test}
 */
function compare(path, sign, wanted) {
  return (row) => {
    if (row.kind !== "event") return false;
    /** @type {any} */
    let value;
    try {
      value = JSON.parse(row.text);
    } catch {
      return false;
    }
    for (const name of path) value = typeof value === "object" && value !== null ? value[name] : undefined;
    if (value === undefined) return false;
    if (sign === "=") return String(value) === wanted;
    return sign === ">" ? Number(value) > Number(wanted) : Number(value) < Number(wanted);
  };
}
