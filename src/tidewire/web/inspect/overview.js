// @ts-check
// The view "Overview": the hub's numbers over time.

import { $, element, put } from "./dom.js";
import { Chart } from "./chart.js";
import { choices } from "./choices.js";
import { brief, bytes, clock, count, duration, latency } from "./format.js";
import { api } from "./hub.js";

/** @import { Shape } from "./chart.js" */

/** Seconds from one sample to the next, and how many there are. @type {Record<string, [number, number]>} */
const RANGES = { minute: [1, 60], hour: [60, 60], day: [900, 96] };

/** @type {Shape[]} */
const SHAPES = [
  {
    title: "Events a second",
    format: brief,
    lines: [
      { name: "logged", tone: "accent", value: (one) => one.events },
      { name: "published", tone: "violet", value: (one) => one.published },
    ],
  },
  { title: "Deliveries a second", format: brief, lines: [{ name: "writes", tone: "accent", value: (one) => one.deliveries }] },
  {
    title: "Publish latency",
    format: (ms) => latency(ms / 1000),
    lines: [
      { name: "p99", tone: "amber", value: (one) => one.publish_ms?.[1] },
      { name: "p50", tone: "accent", value: (one) => one.publish_ms?.[0] },
    ],
  },
  { title: "Open streams", format: count, lines: [{ name: "now", tone: "accent", value: (one) => one.streams }] },
  {
    title: "Slow readers",
    format: count,
    lines: [
      { name: "behind", tone: "amber", value: (one) => one.behind },
      { name: "paused", tone: "red", value: (one) => one.paused },
    ],
  },
  {
    title: "Streams a second",
    format: brief,
    lines: [
      { name: "opened", tone: "accent", value: (one) => one.opened },
      { name: "ended", tone: "violet", value: (one) => one.ended },
    ],
  },
  {
    title: "Gaps and refusals a second",
    format: brief,
    lines: [
      { name: "gaps", tone: "red", value: (one) => one.gaps },
      { name: "refused", tone: "amber", value: (one) => one.refused },
    ],
  },
  {
    title: "Memory",
    format: bytes,
    unit: 1024 * 1024,
    lines: [{ name: "process", tone: "violet", value: (one) => one.memory }],
  },
];

export function overviewView() {
  const charts = SHAPES.map((shape) => new Chart(shape));
  const group = $("charts");
  group.append(...charts.map((chart) => chart.element));
  let range = "minute";
  /** @type {any[]} */
  let samples = [];
  /** The sample under the reading line. @type {any} */
  let marked;
  let loaded = 0;
  let loading = 0;

  async function load() {
    loading += 1;
    const mine = loading;
    try {
      const { history } = await api.get("inspect/overview", { span: range });
      if (mine !== loading) return;
      loaded = performance.now();
      samples = history;
      draw();
    } catch {
      // The live stream says why, in the head of the page.
    }
  }

  function draw() {
    const [step, most] = RANGES[range] ?? [1, 60];
    for (const chart of charts) chart.show(samples, step, most);
    if (marked && !samples.includes(marked)) marked = undefined;
    read();
    if (!$("numbers").hidden) drawNumbers();
  }

  function read() {
    for (const chart of charts) chart.read(marked ?? samples.at(-1), Boolean(marked));
    put($("cursor-time"), marked ? clock(marked.time * 1000).slice(0, 8) : "");
  }

  function drawNumbers() {
    const lines = SHAPES.flatMap(({ title, format, lines }) => lines.map((line) => ({ title, format, ...line })));
    const head = element("tr", "", element("th", "", "Time"), ...lines.map(({ title, name }) => element("th", "", `${title}: ${name}`)));
    const body = samples.toReversed().map((sample) => {
      const cells = lines.map(({ value, format }) => {
        const read = value(sample);
        return element("td", "", typeof read === "number" ? format(read) : "–");
      });
      return element("tr", "", element("th", "", clock(sample.time * 1000).slice(0, 8)), ...cells);
    });
    $("numbers").replaceChildren(element("table", "plain", element("thead", "", head), element("tbody", "", ...body)));
  }

  /** @param {any} overview */
  function drawFacts({ node, totals, now }) {
    facts($("engine"), [
      ["state", node.state],
      ["engine", `${node.engine}${node.shared ? ", shared" : ""}`],
      ["acknowledged events survive", DURABILITY[node.durability] ?? node.durability],
      ["newest", node.head ?? "–"],
      ["oldest offset kept", count(node.floor)],
      ["published since the start", count(totals.published)],
      ["memory", now.memory_share === null ? bytes(now.memory ?? 0) : `${bytes(now.memory)}, ${Math.round(100 * now.memory_share)} % of the limit`],
      ["running for", duration(now.time - node.since)],
      ["process", `${node.name}, pid ${node.pid}`],
      ["version", node.version],
    ]);
    bars($("refusals"), totals.refused, "Nothing was refused.");
    bars($("gaps"), totals.gaps, "No stream has a gap.");
    bars($("endings"), totals.ended, "No stream has ended.");
  }

  choices($("ranges"), "range", (name) => {
    range = name;
    marked = undefined;
    void load();
  });
  $("as-table").addEventListener("click", () => {
    const shown = $("numbers").hidden;
    $("numbers").hidden = !shown;
    group.hidden = shown;
    $("as-table").setAttribute("aria-pressed", String(shown));
    draw();
  });
  group.addEventListener("pointermove", (event) => {
    const plot = event.target instanceof Element && event.target.closest(".plot");
    if (!plot) return;
    const { left, width } = plot.getBoundingClientRect();
    marked = charts[0]?.nearest((event.clientX - left) / width);
    read();
  });
  group.addEventListener("pointerleave", () => {
    marked = undefined;
    read();
  });
  group.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") marked = undefined;
    else if (move && samples.length) {
      const at = marked ? samples.indexOf(marked) : samples.length;
      marked = samples[Math.max(0, Math.min(samples.length - 1, at + move))];
    } else return;
    event.preventDefault();
    read();
  });

  return {
    show() {
      void load();
    },

    /** @param {any} overview */
    data(overview) {
      drawFacts(overview);
      if (range === "minute" && loaded) {
        if (overview.now.time <= (samples.at(-1)?.time ?? 0)) return;
        samples = [...samples, overview.now].slice(-60);
        draw();
      } else if (performance.now() - loaded > 20_000) {
        loaded = performance.now();
        void load();
      }
    },
  };
}

/** @type {Record<string, string>} */
const DURABILITY = {
  memory: "nothing: they are in memory",
  process: "the end of the process",
  disk: "a power cut",
  quorum: "the loss of a server",
};

/**
 * Fill a list with names and values.
 *
 * @param {HTMLElement} list
 * @param {[string, string | Node][]} pairs
 */
export function facts(list, pairs) {
  // Elements that stay keep what the user has selected in them.
  const same = list.children.length === pairs.length && pairs.every(([name], index) => list.children[index]?.firstElementChild?.textContent === name);
  if (!same) list.replaceChildren(...pairs.map(([name]) => element("div", "", element("dt", "", name), element("dd"))));
  for (const [index, [, value]] of pairs.entries()) {
    const cell = /** @type {Element} */ (list.children[index]?.lastElementChild);
    if (typeof value === "string") put(cell, value);
    else cell.replaceChildren(value);
  }
}

/**
 * Fill a list with counts, the largest first, each with a bar.
 *
 * @param {HTMLElement} list
 * @param {Record<string, number>} counts
 * @param {string} none what is said if there are none
 */
export function bars(list, counts, none) {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const largest = sorted[0]?.[1] ?? 1;
  list.replaceChildren(
    ...(sorted.length
      ? sorted.map(([name, number]) => {
          const line = element("div", "", element("dt", "", name.replaceAll("_", " ")), element("dd", "", count(number)));
          line.style.setProperty("--part", `${(100 * number) / largest}%`);
          return line;
        })
      : [element("div", "none", element("dt", "", none), element("dd"))]),
  );
}
