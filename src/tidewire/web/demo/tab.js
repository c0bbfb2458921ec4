// One of many tabs, which share a connection.

import { EventStream } from "/tidewire.js";

const $ = (id) => document.getElementById(id);
const stream = new EventStream("/events", { topics: ["broadcast"], share: "demo" });

function showRole() {
  const role = ["joining", stream.role, "closed"][stream.readyState];
  document.body.dataset.role = role;
  $("role").textContent = role;
}

stream.addEventListener("catFact", (event) => {
  $("received").textContent = Number($("received").textContent) + 1;
  $("fact").textContent = event.json().text;
});

// There is no event for a change of the role.
setInterval(showRole, 200);
