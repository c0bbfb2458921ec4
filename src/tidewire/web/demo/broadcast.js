// Page two: all listeners get the same cat fact.

import { animate } from "./areas.js";
import { Log } from "./log.js";
import { CLIENTS, clientInUrl } from "./source.js";
import { fetchStatus, poll } from "./status.js";
import { Wire } from "./wire.js";

const $ = (id) => document.getElementById(id);
const log = new Log($("log"));
const wire = new Wire($("wire"));
const STATES = { connecting: "connecting", open: "open", lost: "reconnecting", stopped: "stopped" };

let source;
let received = 0;

function begin() {
  source = new CLIENTS[clientInUrl()]("/subscribeToEvents");
  source.addEventListener("open", () => {
    setState("open");
    log.add("control back", "open", "listening");
    update().catch(() => {});
  });
  source.addEventListener("error", () => {
    setState("lost");
    log.add("control lost", "error", "connection lost; reconnecting");
  });
  source.addEventListener("catFact", take);
  setState("connecting");
  $("toggle").textContent = "Stop Events";
}

function take({ type, data }) {
  const { text } = JSON.parse(data);
  received += 1;
  $("received").textContent = received;
  $("fact").textContent = text;
  animate($("fact"), "fade");
  wire.pulse("fact");
  log.add(type, type, text, received);
}

function stop() {
  source.close();
  source = null;
  setState("stopped");
  log.add("control", "close", "stopped; the other listeners continue");
  $("toggle").textContent = "Start again";
  update().catch(() => {});
}

async function generate() {
  const response = await fetch("/generateEvent", { cache: "no-store" });
  const { listening } = await response.json();
  log.add("control", "generateEvent", `sent to ${listening} ${listening === 1 ? "listener" : "listeners"}`);
}

async function update() {
  const { streams, listening } = await fetchStatus("broadcast");
  $("streams").textContent = streams;
  $("listening").textContent = listening;
  wire.lanes = listening;
}

function setState(state) {
  $("state").dataset.state = state;
  $("state").textContent = STATES[state];
  wire.state = { lost: "lost", connecting: "closed" }[state] ?? "open";
}

// The wires show all listeners, so they stay while this page has stopped.
$("toggle").addEventListener("click", () => (source ? stop() : begin()));
$("generate").addEventListener("click", () => generate().catch(() => {}));
$("listen-command").textContent = `curl -N ${location.origin}/subscribeToEvents`;
$("generate-command").textContent = `curl ${location.origin}/generateEvent`;

/** Show the latest fact until the first one arrives. */
async function showLatest() {
  const response = await fetch("/demo/broadcast/latest", { cache: "no-store" });
  if (response.ok) $("fact").textContent = (await response.json()).text;
}

// Before the stream opens: the first page to ask makes the hub publish a fact.
await showLatest().catch(() => {});
begin();
poll(update);
