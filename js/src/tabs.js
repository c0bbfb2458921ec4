// The tabs that share a connection: which of them leads, and what they tell each other.
//
// The tab that holds a Web Lock leads: it has the connection, asks for the topics of all tabs and hands on
// every block. When it closes or crashes, the browser gives the lock to another. A tab in sight takes the
// lead from one that is hidden, and any tab takes it from one that does not answer.
//
// Each lead has a term, later than those before it, so that nobody listens to a leader of yesterday. A new
// leader goes on from its own position; the other tabs drop what they have had already.

/** @import { Block } from "./decoder.js" */
/** @import { Failure } from "./events.js" */
import { hidden } from "./page.js";
import { watchdog } from "./watchdog.js";

const ANSWER = 2000;

/**
 * How the leader's connection is: whether it is open, which topics it carries or carried last, and which ones it
 * asked for since.
 *
 * @typedef {{ live: boolean, patience: number, granted: string[], asked: string[], lastEventId: string }} State
 *
 * What the leader says: how it is, and what came of late.
 *
 * @typedef {State & { blocks?: Block[], origin?: string, failure?: Failure }} Word
 *
 * What a tab does when it leads, and when it does not any more.
 *
 * @typedef {object} Part
 * @property {() => void} lead
 * @property {() => void} rest
 * @property {() => State} state
 * @property {() => void} grown another tab may want more topics
 * @property {(word: Word) => void} follow
 */

/**
 * @param {string} name of the lock and the channel: the same for those who may share
 * @param {string[]} topics
 * @param {Part} part
 */
export function joinTabs(name, topics, part) {
  const me = Math.random();
  const channel = new BroadcastChannel(name);
  const doubt = watchdog(() => campaign(true), ANSWER);
  const silence = watchdog(() => self.ask());
  /** Each tab and its topics. @type {Record<string, string[]>} */
  let wants = {};
  let leader = me;
  let term = 0;
  let gone = false;
  let queue = new AbortController();
  /** @type {(value?: unknown) => void} */
  let resign = () => {};

  const self = {
    /** Whether this tab holds the connection. */
    leading: false,

    /** Return the topics of all tabs. */
    terms: () => [...new Set(Object.values(wants).flat())],

    /** Tell the leader that this tab is here. One that does not answer has lost its place. */
    ask() {
      if (self.leading) return;
      post({ topics });
      doubt.hear();
    },

    /** Tell the others how it is, if this tab leads. @param {Partial<Word>} [news] */
    tell(news) {
      if (self.leading) post({ term, wants, hidden: hidden(), ...part.state(), ...news });
    },

    leave() {
      post({ bye: true });
      gone = true;
      queue.abort();
      rest();
      resign();
      channel.close();
    },
  };

  channel.onmessage = ({ data }) => {
    const { from, topics, bye } = data;
    if (bye) delete wants[from];
    else if (!topics) follow(data);
    else {
      wants[from] = topics;
      if (self.leading) part.grown();
      self.tell();
    }
  };
  self.ask();
  campaign();
  return self;

  /** @param {object} message */
  function post(message) {
    if (!gone) channel.postMessage({ from: me, ...message });
  }

  /** Wait for the lock, or take it from whoever has it. @param {boolean} [steal] */
  async function campaign(steal) {
    queue.abort();
    const { signal } = (queue = new AbortController());
    // It fails for one who leaves the queue, and for one who is robbed of the lock.
    await navigator.locks.request(name, steal ? { steal } : { signal }, () => lead(steal)).catch(() => {});
    if (signal.aborted) return;
    rest();
    campaign();
  }

  /** @param {boolean} [robbed] whether who led before may be there still */
  function lead(robbed) {
    if (gone) return;
    rest();
    if (!robbed) delete wants[leader];
    wants[me] = topics;
    leader = me;
    term = Math.max(Date.now(), term + 1);
    self.leading = true;
    part.lead();
    self.tell();
    return new Promise((done) => (resign = done));
  }

  function rest() {
    doubt.stop();
    silence.stop();
    if (self.leading) part.rest();
    self.leading = false;
  }

  /** @param {any} word */
  function follow(word) {
    if (word.term < term) return;
    rest();
    ({ term, wants, from: leader } = word);
    // A little more patient than the leader, who tells what it notices.
    silence.patience = 1.2 * word.patience;
    silence.hear();
    if (!wants[me]) self.ask();
    if (word.hidden && !hidden()) setTimeout(takeOver, 100 * Math.random(), term);
    part.follow(word);
  }

  /** Several tabs may be in sight: the first takes it. @param {number} from */
  function takeOver(from) {
    if (!gone && term === from && !hidden()) campaign(true);
  }
}
