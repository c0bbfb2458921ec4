// Page three: many tabs and the one connection that they share.

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
  // What it did not hear because it was not there yet is not missed.
  frame.dataset.since = generated;
  $("tabs").append(frame);
}

const frames = () => [...$("tabs").children];
const body = (frame) => frame.contentDocument?.body;
const leader = () => frames().find((frame) => body(frame)?.dataset.role === "leader");
const got = (frame) => Number(body(frame)?.querySelector("#got")?.textContent);

async function generate() {
  await fetch("/generateEvent", { cache: "no-store" });
  generated += 1;
}

function show() {
  $("count").textContent = frames().length;
  $("generated").textContent = generated;
  $("complete").textContent = frames().filter((frame) => got(frame) >= generated - frame.dataset.since).length;
  for (const frame of frames()) frame.classList.toggle("leads", frame === leader());
}

$("generate").addEventListener("click", () => generate().catch(() => {}));
$("open").addEventListener("click", open);
$("close").addEventListener("click", () => leader()?.remove());

for (let count = 0; count < TABS; count += 1) open();
setInterval(show, 200);
poll(async () => ($("streams").textContent = (await fetchStatus("broadcast")).streams));
