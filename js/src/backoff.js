// How long to wait before the next attempt. What happened goes in, milliseconds come out.
//
// A stream that ended in good order (a deploy, a lifetime that is over) is asked for again after the
// server's own `retry:`, with no backoff added. What fails is tried again later and later, with full
// jitter, and never sooner than `retry:` or `Retry-After`. The Python clients do the same.

const RETRY = 3000;
const SHORTEST = 500;
const LONGEST = 300_000;
const CAP = 30_000;
const HOUR = 3_600_000;

// A connection that lived for so long ends a row of failures. If opening it were enough, a server that
// accepts and closes at once would be asked for ever at the same pace.
const STABLE = 30_000;

/** @type {(low: number, value: number, high: number) => number} */
const between = (low, value, high) => Math.min(Math.max(value, low), high);

/** @type {(base: number, failures: number) => number} */
const spread = (base, failures) =>
  base + Math.random() * (failures ? Math.min(CAP, base * (2 ** failures - 1)) : base / 10);

/** Read `Retry-After`: seconds, or a date. @type {(value: string) => number} */
const milliseconds = (value) => (/^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()) || 0;

/**
 * Return the failures in a row after a connection, and how long to wait.
 *
 * @param {{ reason: string, headers?: Record<string, string> }} outcome how it ended
 * @param {number} lived milliseconds from its opening
 * @param {boolean} received whether anything came
 * @param {number} failures in a row before it
 * @param {number | undefined} retry what the server asked for
 */
export function weigh({ reason, headers }, lived, received, failures, retry) {
  const base = between(SHORTEST, retry ?? RETRY, LONGEST);
  const stable = lived >= STABLE;
  if (stable) failures = 0;
  if (reason === "end") {
    const delay = spread(base, received ? 0 : failures);
    return { failures: failures + (received || stable ? 0 : 1), delay };
  }
  failures += 1;
  const after = headers?.["retry-after"];
  // All who were refused were told the same: they must not come back in the same instant.
  const asked = after ? between(0, milliseconds(after), HOUR) + Math.random() * base : 0;
  return { failures, delay: Math.max(spread(base, failures), asked) };
}
