// Page two: everyone who listens gets the same cat fact, whoever asked for it.

import { animate } from "./areas.js";
import { Log } from "./log.js";
import { CLIENTS, askedFor } from "./source.js";
import { fetchStatus, poll } from "./status.js";
import { Wire } from "./wire.js";

const $ = (id) => document.getElementById(id);
const log = new Log($("log"));
const wire = new Wire($("wire"));
const STATES = { connecting: "connecting", open: "open", lost: "coming back", stopped: "stopped by you" };

let source;
let received = 0;

function begin() {
  source = new CLIENTS[askedFor()]("/subscribeToEvents");
  source.addEventListener("open", () => {
    setState("open");
    log.add("control back", "open", "listening");
    ask().catch(() => {});
  });
  source.addEventListener("error", () => {
    setState("lost");
    log.add("control lost", "error", "connection lost; the browser will come back");
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
  log.add("control", "close", "stopped by you; the others go on");
  $("toggle").textContent = "Start again";
  ask().catch(() => {});
}

async function generate() {
  const response = await fetch("/generateEvent", { cache: "no-store" });
  const { listening } = await response.json();
  log.add("control", "generateEvent", `sent to ${listening} ${listening === 1 ? "listener" : "listeners"}`);
}

async function ask() {
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

// The wires show every listener, so they live on while this page has stopped.
$("toggle").addEventListener("click", () => (source ? stop() : begin()));
$("generate").addEventListener("click", () => generate().catch(() => {}));
$("listen-command").textContent = `curl -N ${location.origin}/subscribeToEvents`;
$("generate-command").textContent = `curl ${location.origin}/generateEvent`;

begin();
poll(ask);
