// @ts-check
// The view "Try": everything that comes on one stream, as a table.
//
// The page itself fetches the stream. Rows go into a bounded ring as they come; the table takes them over once per
// frame, so a fast stream costs one drawing, however many events come.

import { $, oncePerFrame, put, copies } from "./dom.js";
import { Deque } from "./deque.js";
import { filter } from "./filter.js";
import { between, brief, bytes, clock, count, hexdump, preview, pretty, visible } from "./format.js";
import { api } from "./hub.js";
import { Reader } from "./reader.js";
import { Ring } from "./ring.js";
import { Table } from "./table.js";
import { choices } from "./choices.js";

/** @import { Item } from "./blocks.js" */
/** @import { Row } from "./ring.js" */
/** @import { Test } from "./filter.js" */

const QUIET = new Set(["comment", "retry"]);

/** @type {import("./table.js").Column<Row>[]} */
const COLUMNS = [
  { name: "n", label: "#", text: (row) => String(row.n) },
  { name: "time", label: "Time", text: (row) => clock(row.at) },
  { name: "wait", label: "Δ", text: (row) => between(row.wait) },
  { name: "topic", label: "Topic", text: (row) => row.topic },
  { name: "type", label: "Type", text: (row) => row.type },
  { name: "id", label: "Id", text: (row) => row.id },
  { name: "size", label: "Size", text: (row) => (row.raw.length ? bytes(row.raw.length) : "") },
  { name: "text", label: "Data", text: (row) => row.preview },
];

export function tryView() {
  const ring = new Ring();
  /** The rows that the filter lets through. @type {Deque<Row>} */
  const shown = new Deque();
  /** The number of the newest row that the table has taken over. */
  let taken = 0;
  /** The number of the newest row that was in view at the end of the table. */
  let seen = 0;
  let paused = false;
  /** @type {Test} */
  let passes = () => true;
  /** @type {Reader | undefined} */
  let reader;
  let last = 0;
  let form = "data";
  /** Whether the stream is one of this hub. */
  let own = true;
  /** @type {Row | undefined} */
  let selected;
  let rateAt = performance.now();
  let rateFrom = 0;

  const quiet = /** @type {HTMLInputElement} */ ($("try-quiet"));
  const filterInput = /** @type {HTMLInputElement} */ ($("try-filter"));
  const target = /** @type {HTMLInputElement} */ ($("try-target"));

  const table = new Table($("try-table"), COLUMNS, {
    key: (row) => row.n,
    tone: (row) => (row.type.startsWith("hub.") ? `hub ${row.type === "hub.gap" ? "error" : ""}` : row.kind),
    onSelect: (row) => {
      // The row that one looks at stays in view.
      if (row) table.follow = false;
      showRow(row);
    },
    onScroll: () => {
      table.follow = table.atEnd;
      flush();
    },
  });
  table.source = shown;
  table.follow = true;
  const flush = oncePerFrame(take);

  /** @param {Item[]} items */
  function add(items) {
    const at = performance.timeOrigin + performance.now();
    for (const item of items) {
      ring.push({ ...item, n: ring.total + 1, at, wait: last ? at - last : 0, preview: preview(item.text) });
      last = at;
    }
    flush();
  }

  function take() {
    if (!paused) {
      const { rows, oldest } = ring;
      for (let index = Math.max(0, taken + 1 - oldest); index < rows.length; index += 1) {
        const row = /** @type {Row} */ (rows.at(index));
        if (passes(row)) shown.push(row);
      }
      taken = ring.total;
      let gone = 0;
      for (; shown.length && /** @type {Row} */ (shown.at(0)).n < oldest; gone += 1) shown.shift();
      table.shifted(gone);
    }
    if (table.follow || table.fits) seen = taken;
    table.draw();
    showCounts();
  }

  function refilter() {
    try {
      const wanted = filter(filterInput.value);
      passes = quiet.checked ? wanted : (row) => !QUIET.has(row.kind) && wanted(row);
      put($("try-filter-error"), "");
    } catch (error) {
      put($("try-filter-error"), error instanceof Error ? error.message : String(error));
      return;
    }
    shown.clear();
    const end = paused ? taken : ring.total;
    for (const row of ring.rows) if (row.n <= end && passes(row)) shown.push(row);
    taken = end;
    flush();
  }

  function showCounts() {
    const waiting = ring.total - taken;
    put($("try-pause"), paused ? `Resume (${count(waiting)} waiting)` : "Pause");
    const filtered = shown.length !== ring.rows.length && !paused ? `${count(shown.length)} shown · ` : "";
    const first = ring.rows.at(0);
    const all = ring.rows.length === ring.came ? "" : ` of ${count(ring.came)}; the oldest is from ${clock(first?.at ?? 0)}`;
    put($("try-kept"), ring.came ? `${filtered}${count(ring.rows.length)} rows kept${all}` : "no rows");
    const below = taken - seen;
    const pill = $("try-newest");
    pill.hidden = below <= 0;
    put(pill, `↓ ${count(below)} new`);
    $("try-blank").hidden = ring.total > 0;
    const now = performance.now();
    if (now - rateAt >= 1000) {
      const rate = ((ring.total - rateFrom) * 1000) / (now - rateAt);
      rateAt = now;
      rateFrom = ring.total;
      put($("try-rate"), rate ? `${brief(Math.round(rate))} rows/s` : "");
    }
  }

  /** @param {Row} [row] */
  function showRow(row) {
    selected = row;
    $("try-details").hidden = !row;
    if (!row) return;
    put($("try-row"), `${row.n} · ${row.type}`);
    const event = /** @type {HTMLAnchorElement} */ ($("try-event"));
    event.hidden = !(own && row.kind === "event" && row.id);
    event.href = `#/event/${encodeURIComponent(row.id)}`;
    const bare = !row.raw.length;
    for (const button of $("try-forms").querySelectorAll("button")) button.disabled = bare && button.dataset.form !== "data";
    put($("try-data"), content());
  }

  function content() {
    if (!selected) return "";
    if (form === "data" || !selected.raw.length) return pretty(selected.text);
    return form === "block" ? visible(selected.raw) : hexdump(selected.raw);
  }

  function setPaused(/** @type {boolean} */ value) {
    paused = value;
    $("try-pause").setAttribute("aria-pressed", String(value));
    flush();
  }

  function connect() {
    reader?.stop();
    const text = target.value.trim();
    own = !/^https?:\/\//i.test(text);
    const headers = { ...(own && api.headers()), ...headersFrom(value("try-headers")) };
    reader = new Reader(
      { url: own ? api.eventsUrl(text) : text, headers, body: value("try-body") },
      add,
      (state) => showState(state),
    );
    void reader.run();
    history.replaceState(null, "", `#/try/${encodeURIComponent(text)}`);
  }

  function showState(/** @type {string} */ state) {
    const chip = $("try-state");
    chip.dataset.state = state;
    put(chip, state);
    const running = state !== "stopped";
    put($("try-start"), running ? "Disconnect" : "Connect");
    $("try-start").classList.toggle("primary", !running);
  }

  $("try-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("try-state").dataset.state === "stopped") connect();
    else reader?.stop();
  });
  $("try-pause").addEventListener("click", () => setPaused(!paused));
  $("try-clear").addEventListener("click", () => {
    ring.clear();
    shown.clear();
    taken = seen = ring.total;
    table.follow = true;
    table.select(undefined);
    flush();
  });
  $("try-newest").addEventListener("click", () => {
    table.follow = true;
    flush();
  });
  $("try-export").addEventListener("click", () => save(shown));
  filterInput.addEventListener("input", refilter);
  quiet.addEventListener("change", refilter);
  choices($("try-forms"), "form", (name) => {
    form = name;
    put($("try-data"), content());
  });
  $("try-close").addEventListener("click", () => {
    table.select(undefined);
    $("try-table").focus();
  });
  copies(/** @type {HTMLButtonElement} */ ($("try-copy")), content);

  return {
    /** @param {string} [name] a topic or URL to connect to */
    show(name) {
      if (name && name !== target.value) {
        target.value = name;
        connect();
      }
      table.draw();
    },

    /** @param {string} key */
    key(key) {
      if (key === " ") setPaused(!paused);
      else if (key === "/") filterInput.focus();
      else return false;
      return true;
    },
  };
}

/** @param {string} id */
const value = (id) => /** @type {HTMLTextAreaElement} */ ($(id)).value.trim();

/** @param {string} text */
function headersFrom(text) {
  const lines = text.split("\n").map((line) => /^([^:]+):(.*)$/.exec(line));
  return Object.fromEntries(lines.filter(Boolean).map((found) => [found?.[1]?.trim() ?? "", found?.[2]?.trim() ?? ""]));
}

/** Save rows as a file of JSON lines. @param {Iterable<Row>} rows */
function save(rows) {
  const parts = [];
  for (const { n, at, kind, type, topic, id, text, raw } of rows) {
    const time = new Date(at).toISOString();
    parts.push(`${JSON.stringify({ n, time, kind, type, topic: topic || undefined, id: id || undefined, text, bytes: raw.length })}\n`);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: "application/x-ndjson" }));
  link.download = `events-${new Date().toISOString().replaceAll(":", "-").slice(0, 19)}.ndjson`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
