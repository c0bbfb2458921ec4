// How long to wait before the next attempt, in milliseconds.
//
// After a stream that the server ended cleanly (for a deploy, or at its maximum age) the client reconnects
// after the server's `retry:`, without backoff. After a failure it waits longer each time, with full jitter,
// and never less than `retry:` or `Retry-After`. The Python clients do the same.

const RETRY = 3000;
const SHORTEST = 500;
const LONGEST = 300_000;
const CAP = 30_000;
const HOUR = 3_600_000;

// A connection that stays open for this long resets the count of failures. If opening one were enough, a
// server that accepts and closes at once would get requests at the same pace forever.
const STABLE = 30_000;

/** @type {(low: number, value: number, high: number) => number} */
const between = (low, value, high) => Math.min(Math.max(value, low), high);

/** @type {(base: number, failures: number) => number} */
const jittered = (base, failures) =>
  base + Math.random() * (failures ? Math.min(CAP, base * (2 ** failures - 1)) : base / 10);

/** Read `Retry-After`: seconds, or a date. @type {(value: string) => number} */
const milliseconds = (value) => (/^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()) || 0;

/**
 * Return the number of failures in a row after a connection, and how long to wait.
 *
 * @param {{ reason: string, headers?: Record<string, string> }} outcome how the connection ended
 * @param {number} lived milliseconds for which it was open
 * @param {boolean} received whether anything was received
 * @param {number} failures in a row before it
 * @param {number | undefined} retry the server's `retry:`
 */
export function backoff({ reason, headers }, lived, received, failures, retry) {
  const base = between(SHORTEST, retry ?? RETRY, LONGEST);
  const stable = lived >= STABLE;
  if (stable) failures = 0;
  if (reason === "end") {
    const delay = jittered(base, received ? 0 : failures);
    return { failures: failures + (received || stable ? 0 : 1), delay };
  }
  failures += 1;
  const after = headers?.["retry-after"];
  // All refused clients got the same number; they must not reconnect at the same moment.
  const requested = after ? between(0, milliseconds(after), HOUR) + Math.random() * base : 0;
  return { failures, delay: Math.max(jittered(base, failures), requested) };
}
