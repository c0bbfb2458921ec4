// Page three: many tabs that share one connection.

import { fetchStatus, poll } from "./status.js";

const $ = (id) => document.getElementById(id);
const TABS = 12;

let opened = 0;
let generated = 0;

function open() {
  opened += 1;
  const frame = document.createElement("iframe");
  frame.title = `tab ${opened}`;
  frame.src = "/demo/tab";
  // Events from before it was opened do not count as missed.
  frame.dataset.since = generated;
  $("tabs").append(frame);
}

const frames = () => [...$("tabs").children];
const body = (frame) => frame.contentDocument?.body;
const leader = () => frames().find((frame) => body(frame)?.dataset.role === "leader");
const received = (frame) => Number(body(frame)?.querySelector("#received")?.textContent);

async function generate() {
  await fetch("/generateEvent", { cache: "no-store" });
  generated += 1;
}

function show() {
  $("count").textContent = frames().length;
  $("generated").textContent = generated;
  $("complete").textContent = frames().filter((frame) => received(frame) >= generated - frame.dataset.since).length;
  for (const frame of frames()) frame.classList.toggle("leads", frame === leader());
}

$("generate").addEventListener("click", () => generate().catch(() => {}));
$("open").addEventListener("click", open);
$("close").addEventListener("click", () => leader()?.remove());

for (let count = 0; count < TABS; count += 1) open();
setInterval(show, 200);
poll(async () => ($("streams").textContent = (await fetchStatus("broadcast")).streams));
