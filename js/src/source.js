// One connection after another: connect, read, wait and connect again.

/** @import { Block } from "./decoder.js" */
/** @import { Outcome } from "./connection.js" */
/** @import { Failure } from "./events.js" */
/** @import { StreamRequest } from "./request.js" */
import { backoff } from "./backoff.js";
import { connect } from "./connection.js";
import { decoder as decode } from "./decoder.js";
import { watchdog } from "./watchdog.js";

const OPENING = 60_000;

/**
 * The user of a source. Reading pauses until the promise of `take` resolves. If `failed` returns true, the source
 * continues even after a final failure.
 *
 * @typedef {object} Sink
 * @property {() => void} opened
 * @property {(blocks: Block[], origin: string) => unknown} take
 * @property {(failure: Failure) => unknown} failed
 */

/**
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
export function ownSource(request, sink) {
  const decoder = decode();
  let failures = 0;
  let byQuery = false;
  /** Whether a new token was asked for after the last 401. */
  let renewed = false;
  /** When the connection was opened, and whether anything was received since. */
  let opened = 0;
  let received = false;
  let attempt = new AbortController();
  let run = new AbortController();
  let dog = watchdog(() => {});
  let wake = () => {};

  const self = {
    role: "solo",
    /** Whether a connection is open. */
    live: false,
    /** How long the server may be silent, in milliseconds; 0 means forever. */
    timeout: 0,

    get lastEventId() {
      return decoder.lastEventId;
    },

    /** @param {string} lastEventId */
    start(lastEventId) {
      decoder.lastEventId = lastEventId;
      run = new AbortController();
      loop(run.signal);
    },

    stop() {
      run.abort();
      self.restart();
      wake();
    },

    /** Reconnect without reporting a failure. */
    restart() {
      attempt.abort({ reason: "restart", message: "" });
    },

    /** End a wait between attempts, and check whether an open connection is alive. */
    retryNow() {
      wake();
      dog.check();
    },

    hide() {},
  };
  return self;

  /** @param {AbortSignal} over */
  async function loop(over) {
    while (!over.aborted) {
      const outcome = await connectOnce(over);
      if (over.aborted) return;
      self.live = false;
      if (outcome.reason === "restart") continue;
      const failure = failureOf(outcome);
      if (!sink.failed(failure) && failure.final) return;
      if (!over.aborted) await sleep(failure.delay);
    }
  }

  /**
   * @param {Outcome} outcome
   * @returns {Failure}
   */
  function failureOf(outcome) {
    const next = backoff(outcome, opened && Date.now() - opened, received, failures, decoder.retry);
    ({ failures } = next);
    // The token has expired, or the ticket was used: a new one is tried once, and at once.
    renewed = outcome.status === 401 && request.renews && !renewed;
    return { ...outcome, ...next, ...(renewed && { delay: 0 }), final: !!outcome.final && !renewed };
  }

  /**
   * @param {AbortSignal} over
   * @returns {Promise<Outcome>}
   */
  async function connectOnce(over) {
    const current = (attempt = new AbortController());
    const mine = (dog = watchdog(silent, self.timeout || OPENING));
    opened = 0;
    received = false;
    try {
      const { url } = request;
      // fetch() reports an unsupported scheme as a network error.
      if (!/^https?:/.test(url)) return { reason: "request", message: `not an http: or https: URL: ${url}`, final: true };
      const id = decoder.lastEventId;
      const init = await request.init({ failures }, byQuery ? "" : id);
      const address = await request.complete(url, byQuery ? id : "", { failures });
      const outcome = await connect(address, init, {
        fetch: request.fetch,
        decoder,
        signal: current.signal,
        wait: mine.hear,
        opened(heartbeat) {
          opened = Date.now();
          mine.stop();
          mine.timeout = self.timeout = 2500 * heartbeat;
          self.live = true;
          sink.opened();
        },
        read(blocks, origin) {
          received = true;
          // While reading is paused, we cannot know whether the server is silent.
          mine.stop();
          return sink.take(blocks, origin);
        },
      });
      // A browser does not tell whether it was the preflight that failed.
      if (id && !opened && outcome.reason === "network") byQuery = request.idByQuery;
      return outcome;
    } catch (error) {
      return { reason: "request", message: String(error) };
    } finally {
      mine.stop();
      current.abort();
    }

    function silent() {
      current.abort({ reason: "silent", message: `received nothing for ${mine.timeout / 1000} s` });
    }
  }

  /** @param {number} ms */
  function sleep(ms) {
    return new Promise((done) => {
      const timer = setTimeout(done, ms);
      wake = () => done(clearTimeout(timer));
    });
  }
}
