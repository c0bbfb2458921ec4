// One stream of the chat, from its start: questions, tokens, and the end of each answer.
// A reload or a second tab reads the same stream, so the page keeps nothing.

const $ = (id) => document.getElementById(id);
const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");

const ENDS = {
  done: "",
  failed: "The answer could not be completed.",
  cancelled: "Stopped.",
  lost: "Lost: the worker that was writing this answer is gone.",
};

const page = new URL(location.href);
if (!page.searchParams.has("chat")) {
  page.searchParams.set("chat", newId());
  history.replaceState(null, "", page);
}
const url = `/chats/${encodeURIComponent(page.searchParams.get("chat"))}`;
$("same").href = page;

let turn = null; // the newest question and its answer

// -- reading

function watch() {
  for (const old of $("chat").querySelectorAll("article")) old.remove();
  turn = null;
  const source = new EventSource(url); // reconnects by itself, and goes on after its last event
  const on = (type, take) => source.addEventListener(type, ({ data }) => follow(() => take(JSON.parse(data))));
  source.onopen = () => show("live");
  source.onerror = () => {
    show("reconnecting");
    // A proxy that answered 502, for example, ends an EventSource for good.
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, 3000);
  };
  on("question", begin);
  on("token", ({ text }) => turn?.querySelector(".text").append(text));
  on("hub.gap", () => note("Some of this chat is no longer kept."));
  for (const state of Object.keys(ENDS)) on(`run.${state}`, () => end(state));
}

function begin({ text, worker }) {
  turn = $("turn").content.cloneNode(true).firstElementChild;
  turn.dataset.worker = worker;
  turn.querySelector(".question").textContent = text;
  turn.querySelector("button").addEventListener("click", () => attempt(ask(text)));
  $("chat").append(turn);
  setState("running", `Worker ${worker} is writing`);
}

function end(state) {
  if (turn) setState(state, ENDS[state]);
}

function setState(state, text) {
  const again = turn.querySelector("button");
  turn.dataset.state = state;
  turn.querySelector(".state span").textContent = text;
  again.hidden = state === "running" || state === "done";
  $("ask").hidden = state === "running";
  $("stop").hidden = state !== "running";
  note("");
}

/** Scroll to the end after a change, unless the user has scrolled up to read. */
function follow(change) {
  const room = document.documentElement;
  const follows = room.scrollHeight - room.scrollTop - room.clientHeight < 80;
  change();
  if (follows) room.scrollTop = room.scrollHeight;
}

// -- asking and stopping

async function ask(text) {
  const message = { id: newId(), text };
  const response = await send("POST", JSON.stringify(message));
  if (response.ok) $("question").value = "";
  else note(response.status === 409 ? "Another answer is being written." : `The server answered ${response.status}.`);
}

/** Send a request, again if the connection breaks. That is safe: the id of the message stays the same. */
async function send(method, body) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await fetch(url, { method, body, headers: { "content-type": "application/json" } });
    } catch (error) {
      if (tries === 5) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

const note = (text) => ($("note").textContent = text);
const attempt = (work) => work.catch(() => note("The server cannot be reached."));

function show(state) {
  $("connection").textContent = state;
  $("connection").dataset.state = state;
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("ask").hidden) attempt(ask($("question").value));
});
$("stop").addEventListener("click", () => attempt(send("DELETE")));
for (const idea of $("empty").querySelectorAll("button")) {
  idea.addEventListener("click", () => attempt(ask(idea.textContent)));
}

watch();
