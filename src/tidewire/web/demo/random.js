// Page one: random events of four types, the end of the stream, and recovery from faults.

import { areas, resetAreas } from "./areas.js";
import { Log } from "./log.js";
import { CLIENTS, clientInUrl, randomName } from "./source.js";
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
  lost: "reconnecting",
  stopped: "stopped",
  ended: "ended",
  failed: "failed",
};
const TONES = { coinToss: "coin", dieRoll: "die", catFact: "fact", meme: "meme" };
const FAULTS = {
  drop: "the server resets this connection",
  silent: "the server sends nothing for 10 s",
  refuse: "the server closes this connection and refuses new ones for 5 s",
};

let current; // the run that is shown; late answers may belong to an older one

/** Start a run, which lasts until its stream ends or is stopped. Each has its own events on the server. */
function begin() {
  const mode = document.querySelector("input[name=mode]:checked").value;
  const Client = CLIENTS[document.querySelector("input[name=client]:checked").value];
  const run = {
    topic: `${mode === "hub" ? "demo" : "classic"}/${randomName()}`,
    seen: new Set(),
    rows: new Map(), // from an event's number to its row, until the row is known to be a replay
    received: 0,
    repeated: 0,
    replayed: 0,
    newest: 0, // the highest number seen
    made: 0, // events that the server has generated
    madeBefore: 0, // events that it had generated when this connection was opened or unblocked
    replayAfter: Infinity, // the highest number seen when the connection broke
    retry: null,
    lostAt: 0,
    lostRow: null,
    ended: false,
    over: false, // ended, or stopped
  };
  current = run;
  run.source = mode === "hub" ? openHub(run, Client) : openClassic(run, Client);
  listen(run);
  resetAreas();
  setState("connecting");
  $("toggle").textContent = "Stop Events";
  for (const button of faults) button.disabled = mode !== "hub";
  $("fault-note").hidden = mode === "hub";
  $("watch-note").hidden = mode !== "hub";
  showCounts(run);
}

// The end is an event of the hub, then a 204 when the client reconnects.
// The page only shows it and need not do anything.
function openHub(run, Client) {
  const source = new Client(`/events/${run.topic}`);
  source.addEventListener("hub.position", ({ lastEventId }) => {
    control("hub.position", `the stream starts at ${lastEventId}`);
  });
  source.addEventListener("hub.gap", ({ data }) => control("hub.gap", data, "lost"));
  source.addEventListener("hub.end", ({ data }) => {
    control("hub.end", `the topic has ended: ${JSON.parse(data).reason}`, "back");
    end(run);
  });
  return source;
}

// The end is a message with the id -1, after which the page must close the stream.
function openClassic(run, Client) {
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
  const fields = JSON.parse(data);
  const { number } = fields;
  run.received += 1;
  if (run.seen.has(number)) run.repeated += 1;
  run.seen.add(number);
  run.newest = Math.max(run.newest, number);
  run.rows.set(number, log.add(type, type, areas[type](fields), number));
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
    await update(run);
    return;
  }
  const seconds = ((performance.now() - run.lostAt) / 1000).toFixed(1);
  const row = control("open", `reconnected after ${seconds} s`, "back");
  run.replayAfter = run.newest;
  const { view } = await update(run);
  if (view) row.update(reconnection(view, seconds));
}

function reconnection({ fault, retry, last_event_id: id }, seconds) {
  const outcome = fault === "refuse" ? "refused" : "reconnected";
  const exchange = `the server received Last-Event-ID ${id ?? "(none)"} and sent retry: ${retry} ms`;
  return `${outcome} after ${seconds} s: ${exchange}`;
}

function failed(run) {
  run.lostAt = performance.now();
  const gone = run.source.readyState === run.source.CLOSED;
  if (run.ended) {
    const answer = "reconnected once and got 204 No Content: the client will not reconnect again";
    control("error", gone ? answer : "the server closed the connection; the client will reconnect once");
    return;
  }
  setState(gone ? "failed" : "lost");
  run.lostRow = control("error", gone ? "the client has given up" : loss(run), "lost");
}

function loss({ retry }) {
  return `connection lost; reconnecting ${retry === null ? "soon" : `after retry: ${retry} ms`}`;
}

function end(run) {
  run.ended = true;
  finish(run, "ended");
}

function stop(run) {
  run.source.close();
  control("close", "stopped");
  finish(run, "stopped");
}

function finish(run, state) {
  run.over = true;
  setState(state);
  $("toggle").textContent = "Start again";
  for (const button of faults) button.disabled = true;
  update(run).catch(() => {});
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

async function update(run) {
  const status = await fetchStatus(run.topic);
  if (run !== current) return status;
  $("streams").textContent = status.streams;
  if (status.view) showView(run, status.view);
  return status;
}

function showView(run, view) {
  $("made").textContent = view.made;
  $("of").textContent = view.of;
  $("generator").textContent = view.stops_in === null ? view.generator : `stops in ${view.stops_in} s`;
  $("connections").textContent = view.connections;
  $("last-event-id").textContent = view.last_event_id ?? "none yet";
  $("retry").textContent = view.retry === null ? "–" : `${view.retry} ms`;
  if (view.retry !== run.retry) {
    run.retry = view.retry;
    if ($("state").dataset.state === "lost") run.lostRow.update(loss(run));
  }
  run.made = view.made;
  run.madeBefore = view.made_before;
  markReplayed(run);
  showCounts(run);
}

// The server reports how many events it had generated when this connection was opened or unblocked.
// Those among them that are new here were replayed from the log.
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
  // Until the end, an event counts as missed if a later one was received.
  const missed = Math.max(run.newest, run.ended ? run.made : 0) - run.seen.size;
  $("received").textContent = run.received;
  $("replayed").textContent = run.replayed;
  for (const [id, count] of [["missed", missed], ["repeated", run.repeated]]) {
    $(id).textContent = count;
    $(id).dataset.good = count === 0;
  }
}

// -- display

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

// A link can choose: /demo?client=native#classic
document.querySelector(`input[value=${clientInUrl()}]`).checked = true;
document.querySelector("input[value=native]").disabled = !CLIENTS.native;
if (location.hash === "#classic") $("modes").querySelector("[value=classic]").checked = true;
begin();
poll(() => update(current));
