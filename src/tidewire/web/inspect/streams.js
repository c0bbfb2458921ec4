// @ts-check
// The view "Streams": who reads what, how far behind, and what happened to one of them.

import { $, element, put } from "./dom.js";
import { ask } from "./ask.js";
import { choices } from "./choices.js";
import { clock, count, duration, shown } from "./format.js";
import { api, reason } from "./hub.js";
import { facts } from "./overview.js";
import { Table } from "./table.js";
import { client } from "./agents.js";

/**
 * @typedef {{ stream: number, sub: string | null, iss: string | null, address: string | null, agent: string | null, topics: string[],
 *   kind: string, way: string, state: string, position: string | null, behind: number, events: number, opened: number,
 *   seconds: number, ended: number | null, reason: string | null }} Stream
 */

/** @type {import("./table.js").Column<Stream>[]} */
const COLUMNS = [
  { name: "number n", label: "#", text: (row) => String(row.stream), order: (row) => row.stream, down: true },
  { name: "state", label: "State", text: (row) => (row.state === "ended" ? `ended: ${row.reason}` : row.state), order: (row) => row.state },
  { name: "sub", label: "Subject", text: (row) => row.sub ?? "–", order: (row) => row.sub ?? "" },
  { name: "address", label: "Address", text: (row) => row.address ?? "–", order: (row) => row.address ?? "" },
  { name: "agent", label: "Client", text: (row) => client(row.agent), order: (row) => client(row.agent) },
  { name: "topics-of", label: "Topics", text: (row) => row.topics.join("  "), order: (row) => row.topics.join(" ") },
  { name: "id", label: "Position", text: (row) => row.position ?? "waiting" },
  { name: "number", label: "Behind", text: (row) => count(row.behind), order: (row) => row.behind, down: true },
  { name: "number written", label: "Events", text: (row) => count(row.events), order: (row) => row.events, down: true },
  { name: "number age", label: "Open for", text: (row) => duration(row.seconds), order: (row) => row.seconds, down: true },
];

/** The server's order for a column: it sends the first ones in that order. @type {Record<string, string>} */
const ORDERS = { Behind: "behind", Events: "events" };

/** What is said if there is no stream. @type {Record<string, string>} */
const NONE = {
  open: "No stream is open. Start one: curl -N " + api.eventsUrl("news"),
  slow: "No stream is behind. Here are those whose client reads more slowly than the hub writes.",
  ended: "No stream has ended since the hub started.",
};

/** How many streams are asked for each second. The search finds the others. */
const MOST = 250;

/** @type {Record<string, string>} */
const STEPS = {
  opened: "Opened",
  judged: "Position judged",
  live: "Caught up: live",
  paused: "Paused: its socket is full",
  resumed: "Resumed: there is room again",
  behind: "Fell behind",
  gap: "Told of a gap",
  reset: "The engine's log was replaced",
  ended: "Ended",
};

/**
 * @param {object} page
 * @param {() => void} page.subscribe
 * @param {(name?: string) => void} page.go
 */
export function streamsView(page) {
  const search = /** @type {HTMLInputElement} */ ($("streams-search"));
  /** @type {Stream[]} */
  let rows = [];
  /** @type {number | undefined} */
  let selected;
  let state = "open";
  let timer = 0;

  const table = new Table($("streams-table"), COLUMNS, {
    key: (row) => row.stream,
    tone: (row) => row.state,
    onSelect: (_row, key) => page.go(key === undefined ? undefined : String(key)),
    onSort: () => {
      table.source = table.ordered(rows);
      table.draw();
      page.subscribe();
    },
  });
  table.sort(/** @type {any} */ (COLUMNS[0]));

  async function details() {
    if (selected === undefined) return;
    const stream = selected;
    try {
      const found = await api.get(`inspect/streams/${stream}`);
      if (stream === selected) showStream(found);
    } catch (error) {
      if (stream === selected) put($("kick-result"), reason(error));
    }
  }

  /** @param {Stream & { steps: any[], forgotten: number }} found */
  function showStream(found) {
    put($("stream-name"), `Stream ${found.stream}`);
    facts($("stream-facts"), [
      ["state", found.state === "ended" ? `ended: ${found.reason}` : found.state],
      ["subject", found.sub === null ? "none" : `${found.sub}${found.iss ? ` of ${found.iss}` : ""}`],
      ["address", found.address ?? "unknown"],
      ["client", client(found.agent)],
      ["user agent", found.agent ?? "none"],
      ["topics", found.topics.join("\n")],
      ["position", found.position ?? "waits"],
      ["behind", `${count(found.behind)} entries of the log`],
      ["events written", count(found.events)],
      ["open for", duration(found.seconds)],
      ["kind", found.kind],
    ]);
    $("kick").hidden = found.state === "ended";
    const steps = found.steps.map(({ time, step, position, detail, count: times }) => {
      const what = element("b", "", STEPS[step] ?? step);
      const more = [detail, position && `at ${position}`, times > 1 && `${times} times`].filter(Boolean).join(" · ");
      const item = element("li", step, element("time", "", clock(time * 1000)), what, element("span", "", more));
      return item;
    });
    if (found.forgotten) steps.splice(2, 0, element("li", "hint", `${count(found.forgotten)} steps are forgotten`));
    $("timeline").replaceChildren(...steps);
  }

  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(page.subscribe, 200);
  });
  choices($("streams-kind"), "kind", (kind) => {
    state = kind;
    page.subscribe();
  });
  $("stream-close").addEventListener("click", () => table.select(undefined));
  $("kick").addEventListener("click", async () => {
    if (selected === undefined) return;
    const stream = selected;
    if (!(await ask(`Kick stream ${stream}? It is closed now. Its client may come back.`, "Kick it"))) return;
    try {
      await api.kick(stream);
      put($("kick-result"), "Kicked.");
      void details();
    } catch (error) {
      put($("kick-result"), reason(error));
    }
  });

  return {
    /** What the live stream is asked for. */
    query: () => ({ view: "streams", state, q: search.value, sort: ORDERS[table.sorted?.label ?? ""] ?? "newest", limit: MOST }),

    /** @param {string} [name] */
    show(name) {
      const stream = name ? Number(name) : undefined;
      if (stream !== selected) put($("kick-result"), "");
      selected = stream;
      table.selected = stream;
      $("stream").hidden = stream === undefined;
      table.draw();
      void details();
    },

    /** @param {{ streams: Stream[], matching: number, known: number }} found */
    data({ streams, matching, known }) {
      rows = streams;
      table.source = table.ordered(rows);
      table.draw();
      $("streams-blank").hidden = streams.length > 0;
      put($("streams-blank"), search.value ? "No such stream has this text." : (NONE[state] ?? ""));
      put($("streams-count"), shown(streams.length, matching, known, "stream"));
      void details();
    },

    /** @param {string} key */
    key(key) {
      if (key === "/") search.focus();
      else return false;
      return true;
    },
  };
}
