// @ts-check
// The view "Event": one event, and to which streams it was written.

import { $, element, put } from "./dom.js";
import { client } from "./agents.js";
import { bytes, clock, count, pretty } from "./format.js";
import { api, reason } from "./hub.js";
import { bars, facts } from "./overview.js";

/** @type {Record<string, string>} */
const WHY = {
  written: "Its position has passed the event: it was written to its socket.",
  another_topic: "It did not ask for this topic.",
  no_grant: "It did not ask for this topic, and its grant does not allow it.",
  not_connected: "It began after the event.",
  behind: "It is behind, and not there yet.",
  ended: "It ended before it got there.",
  gap: "It skipped the event, and was told of a gap.",
  left_out: "A plain stream leaves it out.",
  unknown: "The steps that would say it are forgotten.",
};

/** @param {(name?: string) => void} go */
export function eventView(go) {
  const input = /** @type {HTMLInputElement} */ ($("event-id"));
  /** @type {string | undefined} */
  let shown;

  /** @param {string} id */
  async function lookUp(id) {
    shown = id;
    const blank = $("event-blank");
    try {
      const found = await api.get("inspect/event", { id, limit: 200 });
      if (shown !== id) return;
      showEvent(found);
      $("event-report").hidden = false;
      blank.hidden = true;
    } catch (error) {
      if (shown !== id) return;
      $("event-report").hidden = true;
      blank.hidden = false;
      put(blank, reason(error));
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
    bars($("event-bars"), outcomes, "There was no stream.");
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

  $("lookup").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = input.value.trim();
    if (!id) return;
    if (id === shown) void lookUp(id);
    go(id);
  });

  return {
    /** @param {string} [id] */
    show(id) {
      if (!id) return input.focus({ preventScroll: true });
      input.value = id;
      if (id !== shown) void lookUp(id);
    },

    /** @param {string} key */
    key(key) {
      if (key !== "/") return false;
      input.focus();
      return true;
    },
  };
}
