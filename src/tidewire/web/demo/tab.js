// One of many tabs: it listens over the connection that they share.

import { EventStream } from "/tidewire.js";

const $ = (id) => document.getElementById(id);
const stream = new EventStream("/events", { topics: ["broadcast"], share: "demo" });

function showRole() {
  const role = ["joining", stream.role, "closed"][stream.readyState];
  document.body.dataset.role = role;
  $("role").textContent = role;
}

stream.addEventListener("catFact", (event) => {
  $("got").textContent = Number($("got").textContent) + 1;
  $("fact").textContent = event.json().text;
});

// Who leads is nobody's event: it may change while nothing else does.
setInterval(showRole, 200);
