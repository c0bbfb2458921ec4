// @ts-check
// The inspector's page: its views, the head above them, and what connects them with the hub.

import { $, put } from "./dom.js";
import { brief, count } from "./format.js";
import { api } from "./hub.js";
import { Live } from "./live.js";
import { eventView } from "./event.js";
import { overviewView } from "./overview.js";
import { streamsView } from "./streams.js";
import { askToken } from "./token.js";
import { topicsView } from "./topics.js";
import { tryView } from "./try.js";

/**
 * @typedef {object} View
 * @property {(name?: string) => void} show
 * @property {() => Record<string, string | number | undefined>} [query] what it needs of the live stream
 * @property {(data: any) => void} [data]
 * @property {(key: string) => boolean} [key] returns whether the key did something
 */

const subscribe = () => live.show(views[current]?.query?.() ?? {});
const go = (/** @type {string} */ view) => (/** @type {string | undefined} */ name) => {
  location.hash = name === undefined ? `#/${view}` : `#/${view}/${encodeURIComponent(name)}`;
};

/** @type {Record<string, View>} */
const views = {
  overview: overviewView(),
  topics: topicsView({ subscribe, go: go("topics") }),
  streams: streamsView({ subscribe, go: go("streams") }),
  event: eventView(go("event")),
  try: tryView(),
};
let current = "overview";

const live = new Live({
  data(name, data) {
    if (name === "overview") showPulse(data);
    else if (name === current) views[name]?.data?.(data);
    if (name === "overview" && current === "overview") views.overview?.data?.(data);
  },
  state(state, error) {
    showState(state);
    showNotice(state === "lost" || state === "refused" ? `${error?.message ?? ""}${state === "lost" ? " Trying again." : ""}` : "");
    if (error?.status === 401 || error?.status === 403) void signIn(error.message);
  },
});

/** Ask for a token, until the hub takes one. @param {string} why */
async function signIn(why) {
  const token = await askToken(why);
  if (!token) return;
  api.useToken(token);
  live.close();
  showRoute();
}

/** @param {string} state */
function showState(state) {
  const element = $("state");
  if (element.dataset.state !== state) element.dataset.state = state;
  put(element, state);
}

/** @param {string} text */
function showNotice(text) {
  put($("notice"), text);
  $("notice").hidden = !text;
}

/** @param {any} overview */
function showPulse({ node, now }) {
  showState(node.state === "ready" ? "live" : node.state);
  put($("pulse-streams"), count(now.streams));
  put($("pulse-events"), brief(now.events));
  // What was loaded before may be from another process.
  if (api.useNode(node.shared ? node.name : "") && node.shared) views[current]?.show(decoded(routed()[1]));
  $("one-of-many").hidden = !node.shared;
  if (node.shared) put($("one-of-many"), `This hub has several processes. You see one of them: ${node.name}, pid ${node.pid}.`);
}

/** The view that the address names, and what it shows. @returns {[string, string | undefined]} */
function routed() {
  const [, name = "", rest] = /^#\/(\w+)(?:\/(.*))?$/.exec(location.hash) ?? [];
  return [name, rest];
}

/** Show the view that the address names. */
function showRoute() {
  const [name, rest] = routed();
  current = name in views ? name : "overview";
  for (const id of Object.keys(views)) $(id).hidden = id !== current;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${current}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${$(`${current}-title`).textContent} – Tidewire inspector`;
  views[current]?.show(decoded(rest));
  subscribe();
}

/** @param {string} [text] */
function decoded(text) {
  try {
    return text && decodeURIComponent(text);
  } catch {
    return text; // typed by hand
  }
}

addEventListener("hashchange", showRoute);
addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || $("question").hasAttribute("open")) return;
  if (target instanceof Element && target.closest("input, textarea, select, button, summary, a, dialog")) return;
  if (views[current]?.key?.(key)) event.preventDefault();
});
showRoute();
