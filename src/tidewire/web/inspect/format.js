// @ts-check
// Numbers, sizes and times as text. Pure.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** @param {number} value */
export const count = (value) => whole.format(Math.round(value));

/**
 * How many of the known rows a list shows, such as "the first 1,000 of 1,200 of 3,000 topics".
 *
 * @param {number} rows the rows in the list
 * @param {number} matching those that the search has found
 * @param {number} known all that there are
 * @param {string} noun what one of them is
 */
export function shown(rows, matching, known, noun) {
  const first = matching > rows ? `the first ${count(rows)} of ` : "";
  const all = matching === known ? "" : ` of ${count(known)}`;
  return `${first}${count(matching)}${all} ${noun}${known === 1 ? "" : "s"}`;
}

/**
 * A number in few characters, such as a rate.
 *
 * @param {number} value
 */
export function brief(value) {
  if (value >= 10_000) return short.format(value);
  if (value >= 100 || Number.isInteger(value)) return whole.format(Math.round(value));
  return value.toFixed(value >= 10 ? 1 : 2);
}

/** A rate in a column, where each has the same decimals. @param {number} value */
export const rate = (value) => (value >= 100 ? whole.format(Math.round(value)) : value.toFixed(2));

/** @param {number} size in bytes */
export function bytes(size) {
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit && size < 100 ? size.toFixed(1) : Math.round(size)} ${UNITS[unit]}`;
}

/** @param {number} seconds a short time, such as a latency */
export function latency(seconds) {
  if (!seconds) return "0 ms";
  const ms = seconds * 1000;
  if (ms >= 1000) return `${seconds.toFixed(2)} s`;
  return `${ms >= 100 ? Math.round(ms) : ms.toFixed(ms >= 10 ? 1 : 2)} ms`;
}

/** @param {number} seconds a time in which people wait */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** @param {number} ms milliseconds since 1970 */
export function clock(ms) {
  const at = new Date(ms);
  const pad = (/** @type {number} */ value, width = 2) => String(value).padStart(width, "0");
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

/** @param {number} ms the time between two rows of a table, in milliseconds */
export function between(ms) {
  if (ms < 1) return "+0";
  if (ms < 1000) return `+${Math.round(ms)} ms`;
  if (ms < 60_000) return `+${(ms / 1000).toFixed(2)} s`;
  return `+${duration(ms / 1000)}`;
}

/**
 * One line that begins like the text.
 *
 * @param {string} text
 */
export const preview = (text) => text.slice(0, 400).replace(/\r\n?|\n/g, " ⏎ ");

/**
 * JSON with indents; other text as it is.
 *
 * @param {string} text
 */
export function pretty(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

/**
 * Bytes as a table of hexadecimal numbers and characters.
 *
 * @param {Uint8Array} raw
 */
export function hexdump(raw) {
  const lines = [];
  for (let start = 0; start < raw.length; start += 16) {
    const part = [...raw.subarray(start, start + 16)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = part.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${start.toString(16).padStart(6, "0")}  ${hex.padEnd(47)}  ${text}`);
  }
  return lines.join("\n");
}

/**
 * Text with its line ends visible.
 *
 * @param {Uint8Array} raw
 */
export const visible = (raw) =>
  new TextDecoder().decode(raw).replace(/\r\n|\r|\n/g, (end) => `${end.replace("\r", "␍").replace("\n", "␊")}\n`);
