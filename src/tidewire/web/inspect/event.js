// @ts-check
// The view "Event": one event, and to which streams it was written.

import { $, element, put } from "./dom.js";
import { client } from "./agents.js";
import { bytes, clock, count, pretty } from "./format.js";
import { api, reason } from "./hub.js";
import { facts } from "./overview.js";

/** What each outcome means, in the order in which they are shown. @type {Record<string, string>} */
const WHY = {
  written: "Its position has passed the event: it was written to its socket.",
  behind: "It is behind, and not there yet.",
  gap: "It skipped the event, and was told of a gap.",
  ended: "It ended before it got there.",
  not_connected: "It began after the event.",
  no_grant: "It did not ask for this topic, and its grant does not allow it.",
  left_out: "Plain streams leave out events of the hub, and streams of a run what comes after its end.",
  unknown: "The steps that would say it are forgotten.",
  another_topic: "It did not ask for this topic.",
};

/** @param {(name?: string) => void} go */
export function eventView(go) {
  const input = /** @type {HTMLInputElement} */ ($("event-id"));
  /** @type {string | undefined} */
  let shown;
  /** Only streams with this outcome are listed, if there is one. @type {string | undefined} */
  let outcome;

  /** @param {string} id */
  async function lookUp(id) {
    shown = id;
    const wanted = outcome;
    const current = () => shown === id && outcome === wanted;
    $("event-blank").hidden = true;
    try {
      const found = await api.get("inspect/event", { id, outcome: wanted, limit: 200 });
      if (!current()) return;
      showEvent(found);
      $("event-report").hidden = false;
      put($("event-problem"), "");
    } catch (error) {
      if (!current()) return;
      $("event-report").hidden = true;
      put($("event-problem"), reason(error));
    }
  }

  /** @param {any} found */
  function showEvent({ event, outcomes, streams, matching, forgotten }) {
    const topic = element("a", "", event.topic);
    topic.href = `#/topics/${encodeURIComponent(event.topic)}`;
    facts($("event-facts"), [
      ["id", event.id],
      ["topic", topic],
      ["type", event.event],
      ["time", `${new Date(event.time * 1000).toLocaleDateString()} ${clock(event.time * 1000)}`],
      ["size of its data", bytes(event.bytes)],
    ]);
    put($("event-data"), event.data === null ? "Data is hidden by a setting of the hub." : `${pretty(event.data)}${event.cut ? "\n…" : ""}`);
    showOutcomes(outcomes);
    const lines = streams.map((/** @type {any} */ stream) => {
      const link = element("a", "", `${stream.stream}`);
      link.href = `#/streams/${stream.stream}`;
      const who = [stream.sub, stream.address, client(stream.agent)].filter(Boolean).join(" · ");
      const written = stream.outcome === "written" ? "yes" : stream.outcome === "unknown" ? "unknown" : "no";
      const line = element(
        "tr",
        stream.outcome,
        element("td", "", link, ` ${who}`, element("small", "", stream.topics.join("  "))),
        element("td", "verdict", written),
        element("td", "", WHY[stream.outcome] ?? stream.outcome),
      );
      return line;
    });
    $("event-streams").replaceChildren(...lines);
    const rest = matching > streams.length ? `The first ${count(streams.length)} of ${count(matching)} streams. ` : "";
    const lost = forgotten ? `${count(forgotten)} streams that ended are forgotten. ` : "";
    put($("event-note"), `${rest}${lost}“Written” means to the socket: whether its client has read it is not known here.`);
  }

  /** How many streams have each outcome; each one is a button that lists only those. @param {Record<string, number>} outcomes */
  function showOutcomes(outcomes) {
    const all = Object.values(outcomes).reduce((sum, number) => sum + number, 0);
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.outcome;
    const buttons = [["", all], ...Object.keys(WHY).map((name) => /** @type {const} */ ([name, outcomes[name] ?? 0]))]
      .filter(([name, number]) => !name || number || name === outcome)
      .map(([name, number]) => {
        const button = element("button", String(name), String(name || "all").replaceAll("_", " "), element("b", "", count(Number(number))));
        button.type = "button";
        button.dataset.outcome = String(name);
        button.setAttribute("aria-pressed", String(name === (outcome ?? "")));
        button.addEventListener("click", () => {
          outcome = String(name) || undefined;
          if (shown) void lookUp(shown);
        });
        return button;
      });
    $("event-outcomes").replaceChildren(...buttons);
    // The buttons are new: the focus stays on the one that was pressed.
    if (focused !== undefined) buttons.find((button) => button.dataset.outcome === focused)?.focus();
  }

  $("lookup").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = input.value.trim();
    if (!id) return;
    if (id === shown) void lookUp(id);
    go(id);
  });
  $("event-newest").addEventListener("click", async () => {
    try {
      const { topics } = await api.get("inspect/topics", { sort: "newest", limit: 1 });
      const { last } = topics.length ? await api.get("inspect/topic", { topic: topics[0].topic, limit: 1 }) : { last: [] };
      if (last.length) go(last[0].id);
      else put($("event-problem"), "There is no event in memory yet.");
    } catch (error) {
      put($("event-problem"), reason(error));
    }
  });

  return {
    /** @param {string} [id] */
    show(id) {
      if (!id) {
        shown = undefined;
        input.value = "";
        put($("event-problem"), "");
        $("event-report").hidden = true;
        $("event-blank").hidden = false;
        return input.focus({ preventScroll: true });
      }
      input.value = id;
      if (id === shown) return;
      outcome = undefined;
      void lookUp(id);
    },

    /** @param {string} key */
    key(key) {
      if (key !== "/") return false;
      input.focus();
      return true;
    },
  };
}
