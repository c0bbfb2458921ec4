"use strict";
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};
var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

// src/tidewire.js
var tidewire_exports = {};
__export(tidewire_exports, {
  EventStream: () => EventStream,
  StreamEvent: () => StreamEvent,
  decoder: () => decoder
});
module.exports = __toCommonJS(tidewire_exports);

// src/decoder.js
var LIMIT = 16 * 1024 * 1024;
function decoder(lastEventId = "") {
  let text = new TextDecoder();
  let tail = [];
  let held = 0;
  let afterCR = false;
  let id = "";
  let type = "";
  let topic;
  let data;
  let size = 0;
  const self = {
    lastEventId,
    /** The server's reconnection time, in milliseconds. @type {number | undefined} */
    retry: void 0,
    /** Start a new connection: drop an unfinished block, keep `lastEventId` and `retry`. */
    reset() {
      text = new TextDecoder();
      tail = [];
      held = 0;
      afterCR = false;
      id = self.lastEventId;
      clear();
    },
    /**
     * Return the blocks that end in this chunk. Throws a RangeError if one is larger than 16 MiB.
     *
     * @param {Uint8Array} chunk
     * @returns {Block[]}
     */
    feed(chunk) {
      let more = text.decode(chunk, { stream: true });
      if (!more) return [];
      if (afterCR && more[0] === "\n") more = more.slice(1);
      afterCR = more ? more.endsWith("\r") : false;
      const lines = more.split(/\r\n|\n|\r/);
      const blocks = [];
      if (lines.length > 1) {
        lines[0] = tail.join("") + lines[0];
        tail = [];
        held = 0;
      }
      const rest = lines.pop() ?? "";
      for (const one of lines) line(one, blocks);
      if (rest) tail.push(rest);
      held += rest.length;
      if (held + size > LIMIT) throw new RangeError("event too large");
      return blocks;
    }
  };
  self.reset();
  return self;
  function clear() {
    type = "";
    topic = void 0;
    data = void 0;
    size = 0;
  }
  function line(text2, blocks) {
    if (text2) field(text2);
    else {
      self.lastEventId = id;
      if (data) blocks.push({ type: type || "message", data: data.join("\n"), lastEventId: id, topic });
      clear();
    }
  }
  function field(text2) {
    const colon = text2.indexOf(":");
    const name = colon < 0 ? text2 : text2.slice(0, colon);
    const value = colon < 0 ? "" : text2.slice(colon + (text2[colon + 1] === " " ? 2 : 1));
    if (name === "data") {
      (data ??= []).push(value);
      size += value.length + 1;
    } else if (name === "event") type = value;
    else if (name === "topic") topic = value;
    else if (name === "id" && !value.includes("\0")) id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) self.retry = Number(value);
  }
}

// src/events.js
var StreamEvent = class extends MessageEvent {
  /** @param {Block & { origin?: string }} block */
  constructor({ type, topic, ...init }) {
    super(type, init);
    this.topic = topic;
  }
  /**
   * Return the data parsed as JSON.
   * @returns {T}
   */
  json() {
    return JSON.parse(this.data);
  }
};
var streamError = (failure) => Object.assign(new Event("error"), failure);

// src/page.js
var hidden = () => globalThis.document?.visibilityState === "hidden";
function watchPage(signal, { leave, back, show, hide }) {
  const on = (target, type, listener) => target?.addEventListener?.(type, listener, { signal });
  const { document } = globalThis;
  on(globalThis, "pagehide", leave);
  on(globalThis, "pageshow", back);
  on(globalThis, "online", show);
  on(document, "freeze", leave);
  on(document, "resume", back);
  on(document, "visibilitychange", () => hidden() ? hide() : show());
}
function stored(key, value) {
  try {
    if (value !== void 0) sessionStorage.setItem(key, value);
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

// src/queue.js
function eventQueue(limit, changed) {
  let events = [];
  let failure;
  let wake = () => {
  };
  const self = {
    over: false,
    full: () => events.length >= limit,
    /** @param {StreamEvent} event */
    push(event) {
      events.push(event);
      wake();
    },
    /** @param {Error} [error] */
    end(error) {
      self.over = true;
      failure = error;
      wake();
    },
    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    async next() {
      while (!events.length && !self.over) await new Promise((done) => wake = done);
      const value = events.shift();
      changed();
      if (failure && !value) throw failure;
      return value ? { done: false, value } : { done: true, value };
    },
    /** @returns {Promise<IteratorResult<StreamEvent>>} */
    async return() {
      events = [];
      self.end();
      changed();
      return { done: true, value: void 0 };
    },
    [Symbol.asyncIterator]: () => self
  };
  return self;
}

// src/request.js
var VERSION = "0.1.0";
function parse(text) {
  try {
    return new URL(text, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    throw new DOMException(`${text}`, "SyntaxError");
  }
}
function streamRequest(address, options) {
  const { method, headers: given, ticket, body: content, idParameter } = options;
  const url = parse(address);
  for (const topic of options.topics ?? []) url.searchParams.append("topic", topic);
  const credentials = options.credentials ?? (options.withCredentials ? "include" : "same-origin");
  const fixed = typeof given === "function" ? void 0 : [...new Headers(given)];
  const sameOrigin = url.origin === (globalThis.location ?? url).origin;
  return {
    url: url.href,
    topics: url.searchParams.getAll("topic"),
    credentials,
    /** @type {Fetch} */
    fetch: options.fetch ?? ((url2, init) => fetch(url2, init)),
    /** Whether the last id may go in the query instead of the header, which needs a preflight. */
    idByQuery: !!idParameter && !sameOrigin,
    /** The headers of every attempt; undefined if a function returns them. */
    fixed,
    /** Whether the next attempt may have another token or ticket. */
    renews: !fixed || !!ticket,
    /** Return the URL with other topics. @param {string[]} topics */
    urlFor(topics) {
      const other = new URL(url);
      other.searchParams.delete("topic");
      for (const topic of topics) other.searchParams.append("topic", topic);
      return other.href;
    },
    /**
     * Return the URL for an attempt, with what goes in its query: a last id and a ticket.
     *
     * @type {(address: string, lastEventId: string, attempt: Attempt) => Promise<string>}
     */
    async complete(address2, lastEventId, attempt) {
      const other = new URL(address2);
      if (lastEventId) other.searchParams.set(idParameter ?? "", lastEventId);
      if (ticket) other.searchParams.set("ticket", await ticket(attempt));
      return other.href;
    },
    /**
     * Return the options for fetch().
     *
     * @param {Attempt} attempt
     * @param {string} lastEventId
     * @returns {Promise<RequestInit>}
     */
    async init(attempt, lastEventId) {
      const headers = new Headers(typeof given === "function" ? await given(attempt) : given);
      const body = typeof content === "function" ? await content(attempt) : content;
      const redirect = body != null || [...headers].length ? "manual" : "follow";
      headers.set("Accept", "text/event-stream");
      if (sameOrigin) headers.set("Tidewire-Client", `js/${VERSION}`);
      const id = String.fromCharCode(...new TextEncoder().encode(lastEventId));
      if (id) headers.set("Last-Event-ID", id);
      return { method, headers, body, credentials, redirect, cache: "no-store" };
    }
  };
}

// src/backoff.js
var RETRY = 3e3;
var SHORTEST = 500;
var LONGEST = 3e5;
var CAP = 3e4;
var HOUR = 36e5;
var STABLE = 3e4;
var between = (low, value, high) => Math.min(Math.max(value, low), high);
var jittered = (base, failures) => base + Math.random() * (failures ? Math.min(CAP, base * (2 ** failures - 1)) : base / 10);
var milliseconds = (value) => (/^\d+$/.test(value) ? Number(value) * 1e3 : Date.parse(value) - Date.now()) || 0;
function backoff({ reason, headers }, lived, received, failures, retry) {
  const base = between(SHORTEST, retry ?? RETRY, LONGEST);
  const stable = lived >= STABLE;
  if (stable) failures = 0;
  if (reason === "end") {
    const delay = jittered(base, received ? 0 : failures);
    return { failures: failures + (received || stable ? 0 : 1), delay };
  }
  failures += 1;
  const after = headers?.["retry-after"];
  const requested = after ? between(0, milliseconds(after), HOUR) + Math.random() * base : 0;
  return { failures, delay: Math.max(jittered(base, failures), requested) };
}

// src/connection.js
var REDIRECTS = [301, 302, 303, 307, 308];
var TRANSIENT = [408, 425, 429];
var isFinal = (status) => status < 500 && !TRANSIENT.includes(status);
async function connect(url, init, client) {
  try {
    client.wait();
    const response = await client.fetch(url, { ...init, signal: client.signal });
    const headers = Object.fromEntries(response.headers);
    const outcome = { status: response.status || void 0, headers, ...await refusal(response, headers) };
    if (outcome.reason !== "end") return outcome;
    client.opened(Number(headers["tidewire-heartbeat"]) || 0);
    await read(response, url, client);
    return outcome;
  } catch (error) {
    if (client.signal.aborted) return client.signal.reason;
    const final = error instanceof RangeError;
    return { reason: final ? "size" : "network", message: String(error), final };
  }
}
async function read(response, url, { decoder: decoder2, signal, wait, read: read2 }) {
  const { origin } = new URL(response.url || url);
  decoder2.reset();
  const reader = response.body?.getReader();
  for (; ; ) {
    wait();
    const { value } = await reader?.read() ?? {};
    if (!value || signal.aborted) return;
    await read2(decoder2.feed(value), origin);
  }
}
async function refusal(response, headers) {
  const { status, statusText } = response;
  const type = headers["content-type"] ?? "";
  if (response.type === "opaqueredirect" || REDIRECTS.includes(status) && headers.location) {
    return { reason: "redirect", message: "a request with headers or a body does not follow redirects", final: true };
  }
  if (status === 204) return { reason: "done", message: "status 204: there is nothing more to come", final: true };
  if (status === 200) {
    if (/^text\/event-stream\s*(;|$)/i.test(type)) return { reason: "end", message: "the server ended the stream" };
    return { reason: "type", message: `the content type is ${type || "missing"}, not text/event-stream`, final: true };
  }
  const problem = /json/.test(type) ? await response.json().catch(() => {
  }) : void 0;
  const message = typeof problem?.detail === "string" ? problem.detail : `status ${status} ${statusText}`.trim();
  return { reason: "status", message, final: isFinal(status) };
}

// src/history.js
async function history(fetch2, url, init, since) {
  const page = new URL(url);
  page.searchParams.set("since", since);
  const headers = new Headers(init.headers);
  headers.set("Accept", "application/json");
  const response = await fetch2(page.href, { ...init, headers });
  const json = /json/.test(response.headers.get("Content-Type") ?? "");
  const { events, gap, ...rest } = json ? await response.json() : {};
  if (!events) throw Object.assign(new Error("no history"), { final: isFinal(response.status) });
  const blocks = events.map(({ id, topic, event, data }) => {
    return { type: event, data, lastEventId: id, topic };
  });
  if (gap) blocks.unshift({ type: "hub.gap", data: JSON.stringify(gap), lastEventId: since });
  return { blocks, origin: page.origin, ...rest };
}

// src/watchdog.js
function watchdog(bark, timeout = 0) {
  let heard = 0;
  let timer;
  const stop = () => {
    clearTimeout(timer);
    timer = void 0;
  };
  const sleep = (ms, last = false) => {
    stop();
    const due = Date.now() + ms;
    timer = setTimeout(() => {
      timer = void 0;
      const now = Date.now();
      const left = heard + self.timeout - now;
      if (left > 0) sleep(Math.min(left, self.timeout));
      else if (!last && now > due + 1e3) sleep(1e3, true);
      else bark();
    }, ms);
  };
  const self = {
    timeout,
    stop,
    /** Something was heard, or the wait for it starts now. */
    hear() {
      heard = Date.now();
      if (self.timeout && !timer) sleep(self.timeout);
    },
    /** The page was suspended, and its timers with it: check now. */
    check() {
      if (timer && Date.now() > heard + self.timeout) sleep(1e3, true);
    }
  };
  return self;
}

// src/source.js
var OPENING = 6e4;
function ownSource(request, sink) {
  const decoder2 = decoder();
  let failures = 0;
  let byQuery = false;
  let renewed = false;
  let opened = 0;
  let received = false;
  let attempt = new AbortController();
  let run = new AbortController();
  let dog = watchdog(() => {
  });
  let wake = () => {
  };
  const self = {
    role: "solo",
    /** Whether a connection is open. */
    live: false,
    /** How long the server may be silent, in milliseconds; 0 means forever. */
    timeout: 0,
    get lastEventId() {
      return decoder2.lastEventId;
    },
    /** @param {string} lastEventId */
    start(lastEventId) {
      decoder2.lastEventId = lastEventId;
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
    hide() {
    }
  };
  return self;
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
  function failureOf(outcome) {
    const next = backoff(outcome, opened && Date.now() - opened, received, failures, decoder2.retry);
    ({ failures } = next);
    renewed = outcome.status === 401 && request.renews && !renewed;
    return { ...outcome, ...next, ...renewed && { delay: 0 }, final: !!outcome.final && !renewed };
  }
  async function connectOnce(over) {
    const current = attempt = new AbortController();
    const mine = dog = watchdog(silent, self.timeout || OPENING);
    opened = 0;
    received = false;
    try {
      const { url } = request;
      if (!/^https?:/.test(url)) return { reason: "request", message: `not an http: or https: URL: ${url}`, final: true };
      const id = decoder2.lastEventId;
      const init = await request.init({ failures }, byQuery ? "" : id);
      const address = await request.complete(url, byQuery ? id : "", { failures });
      const outcome = await connect(address, init, {
        fetch: request.fetch,
        decoder: decoder2,
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
          mine.stop();
          return sink.take(blocks, origin);
        }
      });
      if (id && !opened && outcome.reason === "network") byQuery = request.idByQuery;
      return outcome;
    } catch (error) {
      return { reason: "request", message: String(error) };
    } finally {
      mine.stop();
      current.abort();
    }
    function silent() {
      current.abort({ reason: "silent", message: `received nothing for ${mine.timeout / 1e3} s` });
    }
  }
  function sleep(ms) {
    return new Promise((done) => {
      const timer = setTimeout(done, ms);
      wake = () => done(clearTimeout(timer));
    });
  }
}

// src/tabs.js
var ANSWER = 2e3;
function joinTabs(name, topics, callbacks) {
  const me = Math.random();
  const channel = new BroadcastChannel(name);
  const answer = watchdog(() => acquireLock(true), ANSWER);
  const silence = watchdog(() => self.announce());
  let topicsByTab = {};
  let leader = me;
  let epoch = 0;
  let gone = false;
  let queue = new AbortController();
  let releaseLock = () => {
  };
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
    }
  };
  channel.onmessage = ({ data }) => {
    const { from, topics: topics2, bye } = data;
    if (bye) delete topicsByTab[from];
    else if (!topics2) follow(data);
    else {
      topicsByTab[from] = topics2;
      if (self.leading) callbacks.topicsChanged();
      self.broadcast();
    }
  };
  self.announce();
  acquireLock();
  return self;
  function post(message) {
    if (!gone) channel.postMessage({ from: me, ...message });
  }
  async function acquireLock(steal) {
    queue.abort();
    const { signal } = queue = new AbortController();
    await navigator.locks.request(name, steal ? { steal } : { signal }, () => lead(steal)).catch(() => {
    });
    if (signal.aborted) return;
    if (self.leading) stepDown();
    acquireLock();
  }
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
    return new Promise((done) => releaseLock = done);
  }
  function stepDown() {
    answer.stop();
    silence.stop();
    if (self.leading) callbacks.stepDown();
    self.leading = false;
  }
  function follow(message) {
    if (message.epoch < epoch) return;
    if (self.leading) releaseLock();
    stepDown();
    ({ epoch, topicsByTab, from: leader } = message);
    silence.timeout = 1.2 * message.timeout;
    silence.hear();
    if (!topicsByTab[me]) self.announce();
    if (message.hidden && !hidden()) setTimeout(takeOver, 100 * Math.random(), epoch);
    callbacks.follow(message);
  }
  function takeOver(from) {
    if (!gone && epoch === from && !hidden()) acquireLock(true);
  }
}

// src/topics.js
function matches(term, topic) {
  const wanted = term.split("/");
  const levels = topic.split("/");
  return (wanted.at(-1) === "**" || wanted.length === levels.length) && wanted.every((level, index) => index in levels && ["*", "**", levels[index]].includes(level));
}
var covers = (terms, topics) => topics.every((topic) => terms.includes(topic));
function concerns(mine, { type, topic, data }) {
  const fields = /^hub\.(gap|end)$/.test(type) ? JSON.parse(data) : {};
  const topics = fields.topics ?? [fields.topic ?? topic];
  return !mine.length || topics.some((one) => !one || mine.some((term) => matches(term, one)));
}
function isBefore(id, mine) {
  const [life, offset] = id.split(".");
  const [same, last] = mine.split(".");
  return life === same && Number(offset) <= Number(last);
}

// src/shared.js
var NEVER_REPEATED = ["hub.gap", "hub.auth", "hub.error"];
var RETRIES = 3;
function sharedSource(account, request, sink) {
  const { topics, credentials, fixed } = request;
  const name = JSON.stringify(["tidewire", VERSION, request.urlFor([]), !topics.length, account, credentials, fixed]);
  const sharedRequest = {
    ...request,
    /** The URL for the topics of all tabs. */
    get url() {
      requested = tabs ? tabs.allTopics() : topics;
      return request.urlFor(requested);
    }
  };
  const own = ownSource(sharedRequest, { opened, take: passOn, failed });
  let tabs;
  let carried = [];
  let remaining = topics;
  let requested = topics;
  let joined = false;
  let joining = new AbortController();
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
      tabs = void 0;
    },
    retryNow() {
      own.retryNow();
      tabs?.announce();
    },
    hide: () => tabs?.broadcast()
  };
  return self;
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
  function passOn(blocks, origin) {
    if (blocks.length) tabs?.broadcast({ blocks, origin });
    return take(blocks, origin);
  }
  function failed(failure) {
    tabs?.broadcast({ failure });
    return report(failure);
  }
  function follow({ failure, blocks, origin = "", ...state2 }) {
    ({ requested } = state2);
    if (state2.live) join(state2);
    if (failure) report(failure);
    if (blocks && joined) whenCaughtUp(() => take(blocks, origin));
  }
  function whenCaughtUp(act) {
    const { signal } = joining;
    caughtUp = caughtUp.then(() => void (signal.aborted || act()));
  }
  function join(state2) {
    ({ carried } = state2);
    if (!covers(carried, topics)) joined = false;
    else if (joined) whenCaughtUp(sink.opened);
    else {
      joined = true;
      joining = new AbortController();
      caughtUp = catchUp(state2.lastEventId, joining.signal);
    }
  }
  function report(failure) {
    return failure.final && !covers(carried, requested) && covers(carried, topics) || sink.failed(failure);
  }
  async function catchUp(leaders, signal) {
    for (let failures = 0; !signal.aborted; ) {
      try {
        if (topics.length || !["", leaders].includes(self.lastEventId)) await readHistory(signal, { failures });
        else self.lastEventId = leaders;
        if (signal.aborted) return;
        take([], "");
        return sink.opened();
      } catch (error) {
        if (signal.aborted) return;
        if (
          /** @type {any} */
          error?.final || failures === RETRIES
        ) return goAlone();
        const next = backoff({ reason: "network" }, 0, false, failures, 0);
        ({ failures } = next);
        await new Promise((done2) => setTimeout(done2, next.delay));
      }
    }
  }
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
  function goAlone() {
    self.stop();
    own.start(self.lastEventId);
  }
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
  function done() {
    sink.failed({ reason: "done", message: "all topics have ended", final: true, failures: 0, delay: 0 });
  }
}

// src/stream.js
var CONNECTING = 0;
var OPEN = 1;
var CLOSED = 2;
var NOT_ITERATED = ["hub.position", "hub.open"];
var OWN = ["open", "error", "*"];
var EventStream = class extends EventTarget {
  /** @readonly */
  static CONNECTING = CONNECTING;
  /** @readonly */
  static OPEN = OPEN;
  /** @readonly */
  static CLOSED = CLOSED;
  /** @readonly */
  CONNECTING = CONNECTING;
  /** @readonly */
  OPEN = OPEN;
  /** @readonly */
  CLOSED = CLOSED;
  /** @type {Record<string, ((event: any) => any) | null>} */
  #handlers = {};
  /** @type {0 | 1 | 2} */
  #state = CONNECTING;
  #away = false;
  /** @type {Set<ReturnType<typeof eventQueue>>} */
  #queues = /* @__PURE__ */ new Set();
  /** @type {(value?: unknown) => void} */
  #room = () => {
  };
  #source;
  #key;
  #lastEventId;
  #closed = new AbortController();
  /**
   * Throws a SyntaxError if `url` is not a URL, and a TypeError if a header cannot be sent.
   *
   * @param {string | URL} url
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    const { share, persist, lastEventId } = options;
    const request = streamRequest(url, options);
    const sink = {
      opened: () => this.#opened(),
      take: this.#take.bind(this),
      failed: this.#failed.bind(this)
    };
    this.url = request.url;
    this.withCredentials = request.credentials === "include";
    this.#source = share && globalThis.navigator?.locks ? sharedSource(share, request, sink) : ownSource(request, sink);
    this.#key = persist && `tidewire ${persist}`;
    this.#lastEventId = lastEventId || this.#key && stored(this.#key) || "";
    watchPage(this.#closed.signal, {
      leave: () => this.#leave(),
      back: () => this.#back(),
      show: () => this.reconnect(),
      hide: () => this.#source.hide()
    });
    for (
      const type of
      /** @type {const} */
      ["open", "message", "error"]
    ) {
      this.addEventListener(type, (event) => this.#handlers[type]?.call(this, event));
    }
    queueMicrotask(() => this.#begin());
  }
  // A handler is read as one of any event: the handlers of an EventSource expect less, and a stream may be assigned to a
  // variable of that type.
  /** @returns {((event: any) => any) | null} */
  get onopen() {
    return this.#handlers.open ?? null;
  }
  /** @param {((event: Event) => void) | null} handler */
  set onopen(handler) {
    this.#handlers.open = handler;
  }
  /** @returns {((event: any) => any) | null} */
  get onmessage() {
    return this.#handlers.message ?? null;
  }
  /** @param {((event: StreamEvent<M["message"]>) => void) | null} handler */
  set onmessage(handler) {
    this.#handlers.message = handler;
  }
  /** @returns {((event: any) => any) | null} */
  get onerror() {
    return this.#handlers.error ?? null;
  }
  /** @param {((event: StreamError) => void) | null} handler */
  set onerror(handler) {
    this.#handlers.error = handler;
  }
  get readyState() {
    return this.#state;
  }
  /** The id of the newest event dispatched. A new stream can continue from it. */
  get lastEventId() {
    return this.#lastEventId;
  }
  /** `solo` with a connection for this tab only; in a shared connection `leader` (this tab holds it) or `follower`. */
  get role() {
    return this.#source.role;
  }
  /** Close the stream for good. No event is dispatched for that or after it. */
  close() {
    this.#finish();
    for (const queue of this.#queues) queue.return();
  }
  /** Try again now instead of waiting, and check whether an open connection is still alive. */
  reconnect() {
    this.#source.retryNow();
  }
  /**
   * Return the events from now on, for `for await`. Reading from the server pauses while `buffer` events are unread.
   * A shared connection does not pause for one tab; there the loop ends with a RangeError.
   *
   * @param {{ buffer?: number }} [options]
   * @returns {AsyncIterableIterator<StreamEvent<M[string]>>}
   */
  events({ buffer = 1024 } = {}) {
    const queue = eventQueue(buffer, () => {
      if (queue.over) this.#queues.delete(queue);
      this.#room();
    });
    if (this.#state === CLOSED) queue.end();
    else this.#queues.add(queue);
    return queue;
  }
  [Symbol.asyncIterator]() {
    return this.events();
  }
  /**
   * Listen to one event type, or to all of them with `*`: a CustomEvent whose `detail` is the event.
   *
   * `open` and `error` are those of the connection. An event that the server sends with one of these types, or with
   * the type `*`, is dispatched as `event:open`, `event:error` or `event:*`.
   *
   * @overload
   * @param {K} type
   * @param {((event: EventOf<M, K>) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   * @template {string} K
   */
  /**
   * As in an EventSource.
   *
   * @overload
   * @param {string} type
   * @param {((event: MessageEvent) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @param {string} type
   * @param {any} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
  }
  /**
   * @param {string} type
   * @param {((event: any) => void) | EventListenerObject | null} listener
   * @param {boolean | EventListenerOptions} [options]
   */
  removeEventListener(type, listener, options) {
    super.removeEventListener(type, listener, options);
  }
  // -- opening and closing
  #begin() {
    if (this.#state !== CLOSED) this.#source.start(this.#lastEventId);
  }
  #leave() {
    this.#away = true;
    this.#state = CONNECTING;
    this.#source.stop();
  }
  #back() {
    if (this.#away) this.#begin();
    this.#away = false;
  }
  #finish() {
    this.#state = CLOSED;
    this.#source.stop();
    this.#closed.abort();
    this.#room();
  }
  #opened() {
    if (this.#state !== CONNECTING) return;
    this.#state = OPEN;
    this.dispatchEvent(new Event("open"));
  }
  /** @param {Failure} failure */
  #failed(failure) {
    if (this.#state === CLOSED) return;
    this.#state = CONNECTING;
    const error = streamError(failure);
    if (failure.final) {
      this.#finish();
      const { reason, message } = failure;
      const cause = reason === "done" ? void 0 : new Error(message, { cause: error });
      for (const queue of this.#queues) queue.end(cause);
    }
    this.dispatchEvent(error);
  }
  /** @type {(blocks: Block[], origin: string) => void | Promise<void>} */
  #take(blocks, origin) {
    for (const block of blocks) {
      if (this.#state === CLOSED) return;
      this.#lastEventId = block.lastEventId;
      this.#dispatch({ ...block, origin });
    }
    this.#lastEventId = this.#source.lastEventId;
    if (this.#key) stored(this.#key, this.#lastEventId);
    return this.#waitForRoom();
  }
  /** @param {Block & { origin: string }} block */
  #dispatch(block) {
    const { type } = block;
    const event = new StreamEvent(block);
    this.dispatchEvent(OWN.includes(type) ? new StreamEvent({ ...block, type: `event:${type}` }) : event);
    if (NOT_ITERATED.includes(type)) return;
    this.dispatchEvent(new CustomEvent("*", { detail: event }));
    for (const queue of this.#queues) queue.push(event);
  }
  async #waitForRoom() {
    const full = () => [...this.#queues].filter((queue) => queue.full());
    while (this.role === "solo" && full().length) await new Promise((done) => this.#room = done);
    for (const queue of full()) queue.end(new RangeError("too far behind"));
  }
};
// Annotate the CommonJS export names for ESM import in node:
0 && (module.exports = {
  EventStream,
  StreamEvent,
  decoder
});
