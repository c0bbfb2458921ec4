// Page one: random events of four types, the end of the stream, and what happens when it breaks.

import { areas, resetAreas } from "./areas.js";
import { Log } from "./log.js";
import { CLIENTS, askedFor, randomName } from "./source.js";
import { fetchStatus, poll } from "./status.js";
import { Wire } from "./wire.js";

const $ = (id) => document.getElementById(id);
const faults = [...$("faults").children];
const log = new Log($("log"));
const wire = new Wire($("wire"));

const STATES = {
  connecting: "connecting",
  open: "open",
  silent: "open, but silent",
  lost: "coming back",
  stopped: "stopped by you",
  ended: "ended",
  failed: "given up",
};
const TONES = { coinToss: "coin", dieRoll: "die", catFact: "fact", meme: "meme" };
const MAKER = { waiting: "waiting", working: "at work", done: "done", stopped: "stopped" };
const FAULTS = {
  drop: "the server resets this connection",
  silent: "the server holds all bytes back for 10 s",
  refuse: "the server closes this connection and turns it away for 5 s",
};

let current; // the run on show; answers that come late belong to an older one

/** One run: from the first connection to its end, or to Stop. Each has a maker of its own on the server. */
function begin() {
  const mode = document.querySelector("input[name=mode]:checked").value;
  const Client = CLIENTS[document.querySelector("input[name=client]:checked").value];
  const run = {
    topic: `${mode === "hub" ? "demo" : "article"}/${randomName()}`,
    seen: new Set(),
    rows: new Map(), // number of an event to its row, until the row is known to be a replay
    received: 0,
    repeated: 0,
    replayed: 0,
    newest: 0, // the highest number seen
    made: 0, // how many the server had made when it ended
    madeBefore: 0, // how many it had made when this connection could take them
    replayAfter: Infinity, // what we had when the connection broke
    retry: null,
    lostAt: 0,
    lostRow: null,
    ended: false,
    over: false, // ended, or stopped
  };
  current = run;
  run.source = mode === "hub" ? openHub(run, Client) : openArticle(run, Client);
  listen(run);
  resetAreas();
  setState("connecting");
  $("toggle").textContent = "Stop Events";
  for (const button of faults) button.disabled = mode !== "hub";
  $("fault-note").hidden = mode === "hub";
  $("watch-note").hidden = mode !== "hub";
  showCounts(run);
}

// Our way: the end is an event of the hub, and a 204 when the browser asks once more.
// The page need do nothing; it only shows it.
function openHub(run, Client) {
  const source = new Client(`/events/${run.topic}`);
  source.addEventListener("hub.position", ({ lastEventId }) => {
    control("hub.position", `the stream begins at ${lastEventId}`);
  });
  source.addEventListener("hub.gap", ({ data }) => control("hub.gap", data, "lost"));
  source.addEventListener("hub.end", ({ data }) => {
    control("hub.end", `the topic has ended: ${JSON.parse(data).reason}`, "back");
    end(run);
  });
  return source;
}

// The article's way: a last message with the id -1, after which the page itself must close.
function openArticle(run, Client) {
  const source = new Client(`/demo/events?view=${run.topic.split("/")[1]}`);
  source.addEventListener("message", ({ lastEventId, data }) => {
    if (lastEventId !== "-1") return;
    source.close();
    control("message", `id -1: ${data} The page calls close().`, "back");
    end(run);
  });
  return source;
}

function listen(run) {
  for (const type of Object.keys(areas)) run.source.addEventListener(type, (event) => take(run, event));
  run.source.addEventListener("open", () => opened(run));
  run.source.addEventListener("error", () => failed(run));
}

function take(run, { type, data }) {
  const happening = JSON.parse(data);
  const { number } = happening;
  run.received += 1;
  if (run.seen.has(number)) run.repeated += 1;
  run.seen.add(number);
  run.newest = Math.max(run.newest, number);
  run.rows.set(number, log.add(type, type, areas[type](happening), number));
  setState("open");
  wire.pulse(TONES[type]);
  markReplayed(run);
  showCounts(run);
}

// -- the life of the connection

async function opened(run) {
  setState("open");
  if (!run.lostAt) {
    control("open", "connected");
    await ask(run);
    return;
  }
  const away = ((performance.now() - run.lostAt) / 1000).toFixed(1);
  const row = control("open", `back after ${away} s`, "back");
  run.replayAfter = run.newest;
  const { view } = await ask(run);
  if (view) row.say(reunion(view, away));
}

function reunion({ fault, retry, last_event_id: id }, away) {
  const told = `the server got Last-Event-ID ${id ?? "(none)"} and sent retry: ${retry} ms`;
  return fault === "refuse" ? `turned away politely after ${away} s: ${told}` : `back after ${away} s: ${told}`;
}

function failed(run) {
  run.lostAt = performance.now();
  const gone = run.source.readyState === run.source.CLOSED;
  if (run.ended) {
    const answer = "asked once more and got 204 No Content: the browser will not come back";
    control("error", gone ? answer : "the server closed the connection; the browser will ask once more");
    return;
  }
  setState(gone ? "failed" : "lost");
  run.lostRow = control("error", gone ? "the browser has given up" : loss(run), "lost");
}

function loss({ retry }) {
  return `connection lost; next try ${retry === null ? "soon" : `after retry: ${retry} ms`}`;
}

function end(run) {
  run.ended = true;
  rest(run, "ended");
}

function stop(run) {
  run.source.close();
  control("close", "stopped by you");
  rest(run, "stopped");
}

function rest(run, state) {
  run.over = true;
  setState(state);
  $("toggle").textContent = "Start again";
  for (const button of faults) button.disabled = true;
  ask(run).catch(() => {});
}

async function breakIt(run, button) {
  const { fault } = button.dataset;
  const response = await fetch(`/demo/faults/${fault}?topic=${encodeURIComponent(run.topic)}`, { method: "POST" });
  if (!response.ok || run.over) return;
  control("fault", FAULTS[fault], "lost");
  if (fault === "silent") {
    run.replayAfter = run.newest;
    setState("silent");
  }
  const { seconds } = await response.json();
  button.setAttribute("aria-busy", "true");
  setTimeout(() => button.removeAttribute("aria-busy"), seconds * 1000);
}

// -- what only the server knows

async function ask(run) {
  const status = await fetchStatus(run.topic);
  if (run !== current) return status;
  $("streams").textContent = status.streams;
  if (status.view) showView(run, status.view);
  return status;
}

function showView(run, view) {
  $("made").textContent = view.made;
  $("of").textContent = view.of;
  $("maker").textContent = view.stops_in === null ? MAKER[view.maker] : `stops in ${view.stops_in} s`;
  $("connections").textContent = view.connections;
  $("last-event-id").textContent = view.last_event_id ?? "none yet";
  $("retry").textContent = view.retry === null ? "–" : `${view.retry} ms`;
  if (view.retry !== run.retry) {
    run.retry = view.retry;
    if ($("state").dataset.state === "lost") run.lostRow.say(loss(run));
  }
  run.made = view.made;
  run.madeBefore = view.made_before;
  markReplayed(run);
  showCounts(run);
}

// The server says how many events it had made when this connection could take them.
// Those of them that are new here came out of the log.
function markReplayed(run) {
  for (const [number, row] of run.rows) {
    if (number > run.replayAfter && number <= run.madeBefore) {
      row.markReplayed();
      run.rows.delete(number);
      run.replayed += 1;
    }
  }
}

function showCounts(run) {
  // Until the end, an event is missed when a later one is here.
  const missed = Math.max(run.newest, run.ended ? run.made : 0) - run.seen.size;
  $("received").textContent = run.received;
  $("replayed").textContent = run.replayed;
  for (const [id, count] of [["missed", missed], ["repeated", run.repeated]]) {
    $(id).textContent = count;
    $(id).dataset.good = count === 0;
  }
}

// -- showing

function setState(state) {
  $("state").dataset.state = state;
  $("state").textContent = STATES[state];
  wire.state = { open: "open", silent: "silent", lost: "lost" }[state] ?? "closed";
}

function control(type, text, kind = "") {
  return log.add(`control ${kind}`, type, text);
}

$("toggle").addEventListener("click", () => (current.over ? begin() : stop(current)));
for (const choice of [$("modes"), $("clients")]) {
  choice.addEventListener("change", () => {
    if (!current.over) stop(current);
    begin();
  });
}
for (const button of faults) button.addEventListener("click", () => breakIt(current, button).catch(() => {}));

// A link can choose: /demo?client=native#article
document.querySelector(`input[value=${askedFor()}]`).checked = true;
document.querySelector("input[value=native]").disabled = !CLIENTS.native;
if (location.hash === "#article") $("modes").querySelector("[value=article]").checked = true;
begin();
poll(() => ask(current));
