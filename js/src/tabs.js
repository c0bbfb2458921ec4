// The tabs that share a connection: which of them leads, and the messages between them.
//
// The tab that holds a Web Lock leads: it has the connection, requests the topics of all tabs and broadcasts
// every block. When it closes or crashes, the browser gives the lock to another tab. A visible tab takes the
// lead from a hidden one, and any tab takes it from one that does not answer.
//
// Each leader has an epoch, later than those before it, so that tabs ignore an old leader. A new leader
// continues from its own position; the other tabs drop what they have received already.

/** @import { Block } from "./decoder.js" */
/** @import { Failure } from "./events.js" */
import { hidden } from "./page.js";
import { watchdog } from "./watchdog.js";

const ANSWER = 2000;

/**
 * The state of the leader's connection: whether it is open, the server's timeout, the topics that it carries or
 * carried last, and those that it requested since.
 *
 * @typedef {{ live: boolean, timeout: number, carried: string[], requested: string[], lastEventId: string }} State
 *
 * A message of the leader: its state, and what has happened.
 *
 * @typedef {State & { blocks?: Block[], origin?: string, failure?: Failure }} Message
 *
 * @typedef {object} Callbacks
 * @property {() => void} lead this tab leads now
 * @property {() => void} stepDown this tab does not lead any more
 * @property {() => State} state
 * @property {() => void} topicsChanged another tab may want more topics
 * @property {(message: Message) => void} follow
 */

/**
 * @param {string} name of the lock and the channel: the same for tabs that may share
 * @param {string[]} topics
 * @param {Callbacks} callbacks
 */
export function joinTabs(name, topics, callbacks) {
  const me = Math.random();
  const channel = new BroadcastChannel(name);
  const answer = watchdog(() => acquireLock(true), ANSWER);
  const silence = watchdog(() => self.announce());
  /** @type {Record<string, string[]>} */
  let topicsByTab = {};
  let leader = me;
  let epoch = 0;
  let gone = false;
  let queue = new AbortController();
  /** @type {(value?: unknown) => void} */
  let releaseLock = () => {};

  const self = {
    /** Whether this tab holds the connection. */
    leading: false,

    /** Return the topics of all tabs. */
    allTopics: () => [...new Set(Object.values(topicsByTab).flat())],

    /** Announce this tab to the leader. A leader that does not answer is replaced. */
    announce() {
      if (self.leading) return;
      post({ topics });
      answer.hear();
    },

    /** If this tab leads, send its state to the others. @param {Partial<Message>} [news] */
    broadcast(news) {
      if (self.leading) post({ epoch, topicsByTab, hidden: hidden(), ...callbacks.state(), ...news });
    },

    leave() {
      post({ bye: true });
      gone = true;
      queue.abort();
      stepDown();
      releaseLock();
      channel.close();
    },
  };

  channel.onmessage = ({ data }) => {
    const { from, topics, bye } = data;
    if (bye) delete topicsByTab[from];
    else if (!topics) follow(data);
    else {
      topicsByTab[from] = topics;
      if (self.leading) callbacks.topicsChanged();
      self.broadcast();
    }
  };
  self.announce();
  acquireLock();
  return self;

  /** @param {object} message */
  function post(message) {
    if (!gone) channel.postMessage({ from: me, ...message });
  }

  /** Wait for the lock, or steal it from its holder. @param {boolean} [steal] */
  async function acquireLock(steal) {
    queue.abort();
    const { signal } = (queue = new AbortController());
    // It fails for a tab that leaves the queue, and for one whose lock is stolen.
    await navigator.locks.request(name, steal ? { steal } : { signal }, () => lead(steal)).catch(() => {});
    if (signal.aborted) return;
    if (self.leading) stepDown();
    acquireLock();
  }

  /** @param {boolean} [stolen] whether the last leader may still be there */
  function lead(stolen) {
    if (gone) return;
    stepDown();
    if (!stolen) delete topicsByTab[leader];
    topicsByTab[me] = topics;
    leader = me;
    epoch = Math.max(Date.now(), epoch + 1);
    self.leading = true;
    callbacks.lead();
    self.broadcast();
    return new Promise((done) => (releaseLock = done));
  }

  function stepDown() {
    answer.stop();
    silence.stop();
    if (self.leading) callbacks.stepDown();
    self.leading = false;
  }

  /** @param {any} message */
  function follow(message) {
    if (message.epoch < epoch) return;
    // It may have lost its lock, or two began in the same millisecond: let the next one in the queue lead.
    if (self.leading) releaseLock();
    stepDown();
    ({ epoch, topicsByTab, from: leader } = message);
    // A little longer than the leader waits, since the leader reports a silent server.
    silence.timeout = 1.2 * message.timeout;
    silence.hear();
    if (!topicsByTab[me]) self.announce();
    if (message.hidden && !hidden()) setTimeout(takeOver, 100 * Math.random(), epoch);
    callbacks.follow(message);
  }

  /** Several tabs may be visible: only the first takes over. @param {number} from */
  function takeOver(from) {
    if (!gone && epoch === from && !hidden()) acquireLock(true);
  }
}
