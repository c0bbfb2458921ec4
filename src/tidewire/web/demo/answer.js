// Page four: an answer that goes on without its page.

import { Log } from "./log.js";
import { CLIENTS, clientInUrl, randomName } from "./source.js";
import { fetchStatus, poll } from "./status.js";

const $ = (id) => document.getElementById(id);
const log = new Log($("log"));
const STATES = { connecting: "connecting", open: "open", lost: "reconnecting" };
const RUNS = {
  running: "being written",
  done: "complete",
  failed: "failed",
  cancelled: "stopped",
  lost: "lost with its process",
};

// The name is in the URL, so that a reload and a second tab show the same answer.
const page = new URL(location.href);
if (!page.searchParams.get("answer")) {
  page.searchParams.set("answer", randomName());
  history.replaceState(null, "", page);
}
const name = page.searchParams.get("answer");
const topic = `answers/${name}`;
$("another").href = page.href;

let words; // how often each was received

function listen() {
  const source = new CLIENTS[clientInUrl()](`/events/${topic}?since=start`);
  source.addEventListener("open", () => setState("open"));
  source.addEventListener("error", () => setState("lost"));
  source.addEventListener("word", ({ data }) => take(JSON.parse(data)));
  source.addEventListener("hub.run", ({ data }) => {
    const { state } = JSON.parse(data);
    if (state === "running") clear();
    setRun(state);
  });
}

function clear() {
  words = [];
  $("answer").textContent = "";
  count();
}

function take({ number, text }) {
  words[number - 1] = (words[number - 1] ?? 0) + 1;
  $("answer").append(number > 1 ? ` ${text}` : text);
  count();
}

function count() {
  const received = words.filter(Boolean).length;
  const missing = words.length - received;
  const repeated = words.reduce((sum, times) => sum + times - 1, 0);
  $("shown").textContent = received;
  for (const [id, value] of Object.entries({ missing, repeated })) {
    $(id).textContent = value;
    $(id).dataset.good = value === 0;
  }
}

function setRun(state) {
  $("run").dataset.run = state;
  $("run").textContent = RUNS[state];
  const running = state === "running";
  $("ask").disabled = running;
  $("stop").disabled = $("kill").disabled = !running;
  log.add({ failed: "control lost", lost: "control lost", done: "control back" }[state] ?? "control", "hub.run", RUNS[state]);
}

function setState(state) {
  $("state").dataset.state = state;
  $("state").textContent = STATES[state];
}

/** Ask the server for something. What comes of it is told by the stream, in every tab. */
async function order(what, key = "") {
  const query = new URLSearchParams({ name, ...(key && { key }) });
  const response = await fetch(`/demo/answer/${what}?${query}`, { method: "POST" });
  log.add("control", what, response.ok ? "this tab asked for it" : `the server answered ${response.status}`);
}

const click = (id, act) => $(id).addEventListener("click", () => Promise.resolve(act()).catch(() => {}));
click("ask", () => order("ask", randomName()));
click("stop", () => order("stop"));
click("kill", () => order("kill"));
click("reload", () => location.reload());

clear();
listen();
poll(async () => ($("listening").textContent = (await fetchStatus(topic)).listening));
