// @ts-check
// The view "Topics": what is published where, and publishing from the page.

import { $, copies, element, put } from "./dom.js";
import { ask } from "./ask.js";
import { clock, count, duration, preview, rate, shown } from "./format.js";
import { api, reason } from "./hub.js";
import { facts } from "./overview.js";
import { Table } from "./table.js";

/** @typedef {{ topic: string, events: number, rate: number, streams: number, newest: number | null, ended: boolean }} Topic */

/** @type {import("./table.js").Column<Topic>[]} */
const COLUMNS = [
  { name: "topic", label: "Topic", text: (row) => row.topic, order: (row) => row.topic },
  { name: "number rate", label: "Events/s", text: (row) => rate(row.rate), order: (row) => row.rate, down: true },
  { name: "number", label: "Events", text: (row) => count(row.events), order: (row) => row.events, down: true },
  { name: "number", label: "Streams", text: (row) => count(row.streams), order: (row) => row.streams, down: true },
  { name: "age", label: "Last event", text: (row) => age(row), order: (row) => row.newest ?? 0, down: true },
];

/** @param {Topic} row */
const age = ({ newest, ended }) => (ended ? "ended" : newest ? `${duration(Date.now() / 1000 - newest)} ago` : "none kept");

/** The server's order for a column: it sends the first thousand in that order. @type {Record<string, string>} */
const ORDERS = { Topic: "topic", "Events/s": "rate", Events: "events", Streams: "streams", "Last event": "newest" };

const FACTS = ["events in memory", "events a second", "streams", "state"];

/**
 * @param {object} page
 * @param {() => void} page.subscribe open the live stream for `query` again
 * @param {(name?: string) => void} page.go
 */
export function topicsView(page) {
  const search = /** @type {HTMLInputElement} */ ($("topics-search"));
  const topicInput = /** @type {HTMLInputElement} */ ($("publish-topic"));
  const typeInput = /** @type {HTMLInputElement} */ ($("publish-type"));
  const dataInput = /** @type {HTMLTextAreaElement} */ ($("publish-data"));
  /** @type {Topic[]} */
  let rows = [];
  /** @type {string | undefined} */
  let selected;
  let timer = 0;

  const table = new Table($("topics-table"), COLUMNS, {
    key: (row) => row.topic,
    tone: (row) => (row.ended ? "over" : ""),
    onSelect: (_row, key) => page.go(/** @type {string | undefined} */ (key)),
    onSort: () => {
      table.source = table.ordered(rows);
      table.draw();
      page.subscribe();
    },
  });
  table.sort(/** @type {any} */ (COLUMNS[2]));

  async function details() {
    if (selected === undefined) return;
    const topic = selected;
    try {
      const found = await api.get("inspect/topic", { topic, limit: 20 });
      if (topic === selected) showTopic(found);
    } catch (error) {
      put($("publish-result"), reason(error));
    }
  }

  /** @param {string[]} values */
  function showFacts(...values) {
    facts($("topic-facts"), FACTS.map((name, index) => [name, values[index] ?? "–"]));
  }

  /** @param {any} found */
  function showTopic(found) {
    showFacts(count(found.events), rate(found.rate), count(found.streams), found.ended ? `ended: ${found.reason}` : "open");
    $("topic-end").hidden = found.ended;
    const list = $("topic-events");
    if (list.dataset.newest === `${found.topic} ${found.last[0]?.id}`) return;
    list.dataset.newest = `${found.topic} ${found.last[0]?.id}`;
    list.replaceChildren(
      ...(found.last.length
        ? found.last.map((/** @type {any} */ event) => {
            const link = element("a", "", event.id);
            link.href = `#/event/${encodeURIComponent(event.id)}`;
            const data = event.data === null ? "data is hidden" : `${preview(event.data)}${event.cut ? " …" : ""}`;
            return element("li", "", element("time", "", clock(event.time * 1000)), link, element("b", "", event.event), element("code", "", data));
          })
        : [element("li", "hint", "No event of this topic is in memory.")]),
    );
  }

  function showCommand() {
    const topic = topicInput.value || "news";
    put($("publish-curl"), api.curl(topic, typeInput.value, dataInput.value));
    put($("publish-hint"), hint(dataInput.value));
    const tried = /** @type {HTMLAnchorElement} */ ($("topic-try"));
    tried.href = `#/try/${encodeURIComponent(topic)}`;
  }

  function showSelected() {
    const one = selected !== undefined;
    put($("topic-name"), selected ?? "Publish");
    $("topic").classList.toggle("chosen", one);
    for (const id of ["topic-facts", "topic-last", "topic-close", "topic-end", "publish-title"]) $(id).hidden = !one;
    put($("publish-result"), "");
    // Until they are known, they take their place: the buttons below must not move under the pointer.
    showFacts();
    if (selected !== undefined) topicInput.value = selected;
    showCommand();
  }

  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(page.subscribe, 200);
  });
  for (const input of [topicInput, typeInput, dataInput]) input.addEventListener("input", showCommand);
  copies(/** @type {HTMLButtonElement} */ ($("publish-copy")), () => $("publish-curl").textContent ?? "");
  $("topic-close").addEventListener("click", () => table.select(undefined));
  $("publish").addEventListener("submit", async (event) => {
    event.preventDefault();
    const result = $("publish-result");
    try {
      const { id } = await api.publish(topicInput.value, typeInput.value, dataInput.value);
      const link = element("a", "", id);
      link.href = `#/event/${encodeURIComponent(id)}`;
      result.replaceChildren("Published as ", link);
      void details();
    } catch (error) {
      put(result, reason(error));
    }
  });
  $("topic-end").addEventListener("click", async () => {
    if (selected === undefined) return;
    const topic = selected;
    if (!(await ask(`End the topic “${topic}”? Its streams are closed, and nothing can be published to it any more.`, "End the topic"))) return;
    try {
      await api.end(topic);
      put($("publish-result"), "The topic has ended.");
      void details();
    } catch (error) {
      put($("publish-result"), reason(error));
    }
  });
  showSelected();

  return {
    /** What the live stream is asked for. */
    query: () => ({ view: "topics", q: search.value, sort: ORDERS[table.sorted?.label ?? ""], limit: 1000 }),

    /** @param {string} [name] */
    show(name) {
      const topic = name || undefined;
      if (topic !== selected || topic === undefined) {
        selected = topic;
        table.selected = topic;
        showSelected();
      }
      table.draw();
      void details();
    },

    /** @param {{ topics: Topic[], matching: number, known: number }} found */
    data({ topics, matching, known }) {
      rows = topics;
      table.source = table.ordered(rows);
      table.draw();
      put($("topics-count"), shown(topics.length, matching, known, "topic"));
      $("topics-blank").hidden = topics.length > 0;
      put($("topics-blank"), known ? "No topic has this text in its name." : "No topic yet. Publish an event, and its topic is here.");
      const options = topics.slice(0, 50).map(({ topic }) => Object.assign(element("option"), { value: topic }));
      $("try-topics").replaceChildren(...options);
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

/** What the data looks like. @param {string} data */
function hint(data) {
  if (!/^\s*[{[]/.test(data)) return "Text, sent as it is.";
  try {
    JSON.parse(data);
    return "Valid JSON.";
  } catch (error) {
    return `Not valid JSON, sent as text. ${error instanceof Error ? error.message : ""}`;
  }
}
