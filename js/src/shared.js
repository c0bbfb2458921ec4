// The source of a tab that shares a connection: its own connection while it leads, else the leader's broadcasts.

/** @import { Block } from "./decoder.js" */
/** @import { Failure } from "./events.js" */
/** @import { Attempt, StreamRequest } from "./request.js" */
/** @import { Sink } from "./source.js" */
/** @import { Message, State } from "./tabs.js" */
import { backoff } from "./backoff.js";
import { history } from "./history.js";
import { VERSION } from "./request.js";
import { ownSource } from "./source.js";
import { joinTabs } from "./tabs.js";
import { concerns, covers, isBefore } from "./topics.js";

// Their ids may be positions that were reached before, so they are never dropped as repeated.
const NEVER_REPEATED = ["hub.gap", "hub.auth", "hub.error"];

// How often a tab tries again to read what it missed, before it opens a connection of its own.
const RETRIES = 3;

/**
 * @param {string | true} account only tabs with the same account share the connection
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
export function sharedSource(account, request, sink) {
  const { topics, credentials, fixed } = request;
  const name = JSON.stringify(["tidewire", VERSION, request.urlFor([]), !topics.length, account, credentials, fixed]);
  const sharedRequest = {
    ...request,
    /** The URL for the topics of all tabs. */
    get url() {
      requested = tabs ? tabs.allTopics() : topics;
      return request.urlFor(requested);
    },
  };
  const own = ownSource(sharedRequest, { opened, take: passOn, failed });
  /** @type {ReturnType<typeof joinTabs> | undefined} */
  let tabs;
  /** Topics of the open connection, or of the last one. @type {string[]} */
  let carried = [];
  /** Topics of this tab that have not ended. */
  let remaining = topics;
  let requested = topics;
  let joined = false;
  let joining = new AbortController();
  /** Broadcasts wait for this until this tab has caught up. */
  let caughtUp = Promise.resolve();

  const self = {
    /** The newest id received, of any topic. */
    lastEventId: "",

    get role() {
      if (!tabs) return "solo";
      return tabs.leading ? "leader" : "follower";
    },

    /** @param {string} lastEventId */
    start(lastEventId) {
      self.lastEventId = lastEventId;
      joined = false;
      tabs = joinTabs(name, topics, { lead, stepDown: own.stop, state, topicsChanged, follow });
    },

    stop() {
      joining.abort();
      own.stop();
      tabs?.leave();
      tabs = undefined;
    },

    retryNow() {
      own.retryNow();
      tabs?.announce();
    },

    hide: () => tabs?.broadcast(),
  };
  return self;

  // -- leading

  function lead() {
    joining.abort();
    joining = new AbortController();
    joined = true;
    own.start(self.lastEventId);
  }

  function opened() {
    carried = requested;
    sink.opened();
    tabs?.broadcast();
    topicsChanged();
  }

  function topicsChanged() {
    if (tabs && own.live && !covers(carried, tabs.allTopics())) own.restart();
  }

  function state() {
    const { live, timeout } = own;
    return { live, timeout, carried, requested, lastEventId: self.lastEventId };
  }

  /** @type {(blocks: Block[], origin: string) => unknown} */
  function passOn(blocks, origin) {
    if (blocks.length) tabs?.broadcast({ blocks, origin });
    return take(blocks, origin);
  }

  /** @param {Failure} failure */
  function failed(failure) {
    tabs?.broadcast({ failure });
    return report(failure);
  }

  // -- following

  /** @param {Message} message */
  function follow({ failure, blocks, origin = "", ...state }) {
    ({ requested } = state);
    if (state.live) join(state);
    if (failure) report(failure);
    if (blocks && joined) whenCaughtUp(() => take(blocks, origin));
  }

  /**
   * If catching up is given up, the same comes again over the connection that this tab has then.
   *
   * @param {() => unknown} act
   */
  function whenCaughtUp(act) {
    const { signal } = joining;
    caughtUp = caughtUp.then(() => void (signal.aborted || act()));
  }

  /** @param {State} state */
  function join(state) {
    ({ carried } = state);
    if (!covers(carried, topics)) joined = false;
    else if (joined) whenCaughtUp(sink.opened);
    else {
      joined = true;
      joining = new AbortController();
      caughtUp = catchUp(state.lastEventId, joining.signal);
    }
  }

  /**
   * Report a failure, unless it refuses only the topics of other tabs: those tabs leave, and the connection continues.
   *
   * @param {Failure} failure
   */
  function report(failure) {
    return (failure.final && !covers(carried, requested) && covers(carried, topics)) || sink.failed(failure);
  }

  /** Read what was missed, while broadcasts wait. @type {(leaders: string, signal: AbortSignal) => Promise<void>} */
  async function catchUp(leaders, signal) {
    for (let failures = 0; !signal.aborted; ) {
      try {
        // Without topics all tabs listen to the same stream, and a new one starts at the leader's position.
        if (topics.length || !["", leaders].includes(self.lastEventId)) await readHistory(signal, { failures });
        else self.lastEventId = leaders;
        if (signal.aborted) return;
        take([], "");
        return sink.opened();
      } catch (error) {
        if (signal.aborted) return;
        if (/** @type {any} */ (error)?.final || failures === RETRIES) return goAlone();
        const next = backoff({ reason: "network" }, 0, false, failures, 0);
        ({ failures } = next);
        await new Promise((done) => setTimeout(done, next.delay));
      }
    }
  }

  /** @type {(signal: AbortSignal, attempt: Attempt) => Promise<void>} */
  async function readHistory(signal, attempt) {
    const init = await request.init(attempt, "");
    for (let more = true; more; ) {
      const address = await request.complete(request.url, "", attempt);
      const page = await history(request.fetch, address, { ...init, signal }, self.lastEventId || "now");
      take(page.blocks, page.origin);
      self.lastEventId = page.next;
      ({ more } = page);
      if (page.ended && !more) done();
    }
  }

  /** If it cannot read the history, only its own connection lets this tab miss nothing. */
  function goAlone() {
    self.stop();
    own.start(self.lastEventId);
  }

  // -- both

  /** @type {(blocks: Block[], origin: string) => unknown} */
  function take(blocks, origin) {
    const mine = blocks.filter((block) => {
      const { type, lastEventId, data } = block;
      if (!NEVER_REPEATED.includes(type) && isBefore(lastEventId, self.lastEventId)) return false;
      self.lastEventId = lastEventId;
      if (type === "hub.end") remaining = remaining.filter((topic) => topic !== JSON.parse(data).topic);
      return concerns(topics, block);
    });
    const taken = sink.take(mine, origin);
    if (tabs && topics.length && !remaining.length) done();
    return taken;
  }

  /** All topics of this tab have ended. Without sharing the server would answer 204. */
  function done() {
    sink.failed({ reason: "done", message: "all topics have ended", final: true, failures: 0, delay: 0 });
  }
}
