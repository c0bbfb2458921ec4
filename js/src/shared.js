// The source of a tab that shares its connection: its own one while it leads, else what the leader hands on.

/** @import { Block } from "./decoder.js" */
/** @import { Failure } from "./events.js" */
/** @import { StreamRequest } from "./request.js" */
/** @import { Sink } from "./source.js" */
/** @import { State, Word } from "./tabs.js" */
import { history } from "./history.js";
import { VERSION } from "./request.js";
import { ownSource } from "./source.js";
import { joinTabs } from "./tabs.js";
import { concerns, covers, isBefore } from "./topics.js";

// What stands at a position that may have been reached before.
const ASIDE = ["hub.gap", "hub.auth", "hub.error"];

/**
 * @param {string | true} account who may share it
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
export function sharedSource(account, request, sink) {
  const { topics, credentials, fixed } = request;
  const name = JSON.stringify(["tidewire", VERSION, request.urlFor([]), !topics.length, account, credentials, fixed]);
  const asking = {
    ...request,
    /** The URL for the topics of all tabs. */
    get url() {
      asked = tabs ? tabs.terms() : topics;
      return request.urlFor(asked);
    },
  };
  const own = ownSource(asking, { opened, take: hand, failed });
  /** @type {ReturnType<typeof joinTabs> | undefined} */
  let tabs;
  /** Topics of the connection that stands, or stood last. @type {string[]} */
  let granted = [];
  /** Topics of this tab that go on. */
  let going = topics;
  let asked = topics;
  let joined = false;
  let joining = new AbortController();
  /** What is heard waits here until this tab has caught up. */
  let line = Promise.resolve();

  const self = {
    /** The newest id that was heard, of any topic. */
    lastEventId: "",

    get role() {
      if (!tabs) return "solo";
      return tabs.leading ? "leader" : "follower";
    },

    /** @param {string} lastEventId */
    start(lastEventId) {
      self.lastEventId = lastEventId;
      joined = false;
      tabs = joinTabs(name, topics, { lead, rest: own.stop, state, grown, follow });
    },

    stop() {
      joining.abort();
      own.stop();
      tabs?.leave();
      tabs = undefined;
    },

    hurry() {
      own.hurry();
      tabs?.ask();
    },

    hide: () => tabs?.tell(),
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
    granted = asked;
    sink.opened();
    tabs?.tell();
    grown();
  }

  function grown() {
    if (tabs && own.live && !covers(granted, tabs.terms())) own.restart();
  }

  function state() {
    const { live, patience } = own;
    return { live, patience, granted, asked, lastEventId: self.lastEventId };
  }

  /** @type {(blocks: Block[], origin: string) => unknown} */
  function hand(blocks, origin) {
    if (blocks.length) tabs?.tell({ blocks, origin });
    return take(blocks, origin);
  }

  /** @param {Failure} failure */
  function failed(failure) {
    tabs?.tell({ failure });
    return suffer(failure);
  }

  // -- following

  /** @param {Word} word */
  function follow({ failure, blocks, origin = "", ...state }) {
    ({ asked } = state);
    if (state.live) heed(state);
    if (failure) suffer(failure);
    const { signal } = joining;
    // What waited for a history that was given up comes once more, from the connection that this tab has now.
    if (blocks && joined) line = line.then(() => void (signal.aborted || take(blocks, origin)));
  }

  /** @param {State} state */
  function heed(state) {
    ({ granted } = state);
    if (!covers(granted, topics)) joined = false;
    else if (joined) sink.opened();
    else {
      joined = true;
      joining = new AbortController();
      line = catchUp(state.lastEventId, joining.signal);
    }
  }

  /**
   * Whose topics were granted before is not struck by the refusal of others': who asked for them leaves, and the
   * connection goes on.
   *
   * @param {Failure} failure
   */
  function suffer(failure) {
    return (failure.final && !covers(granted, asked) && covers(granted, topics)) || sink.failed(failure);
  }

  /** Read what came before, while what comes now waits. @type {(leaders: string, signal: AbortSignal) => Promise<void>} */
  async function catchUp(leaders, signal) {
    try {
      // Without topics all listen to the same, and who is new begins where the leader is.
      if (topics.length || !["", leaders].includes(self.lastEventId)) await readHistory(signal);
      else self.lastEventId = leaders;
      if (signal.aborted) return;
      take([], "");
      sink.opened();
    } catch {
      if (!signal.aborted) goAlone();
    }
  }

  /** @param {AbortSignal} signal */
  async function readHistory(signal) {
    const init = await request.init({ failures: 0 }, "");
    for (let more = true; more; ) {
      const page = await history(request.url, { ...init, signal }, self.lastEventId || "now");
      take(page.blocks, page.origin);
      self.lastEventId = page.next;
      ({ more } = page);
      if (page.ended && !more) done();
    }
  }

  /** Where no history is told, a connection of its own misses nothing. */
  function goAlone() {
    self.stop();
    own.start(self.lastEventId);
  }

  // -- both

  /** @type {(blocks: Block[], origin: string) => unknown} */
  function take(blocks, origin) {
    const mine = blocks.filter((block) => {
      const { type, lastEventId, data } = block;
      if (!ASIDE.includes(type) && isBefore(lastEventId, self.lastEventId)) return false;
      self.lastEventId = lastEventId;
      if (type === "hub.end") going = going.filter((topic) => topic !== JSON.parse(data).topic);
      return concerns(topics, block);
    });
    const taken = sink.take(mine, origin);
    if (tabs && topics.length && !going.length) done();
    return taken;
  }

  /** Alone, the server would say so. */
  function done() {
    sink.failed({ reason: "done", final: true, failures: 0, delay: 0 });
  }
}
