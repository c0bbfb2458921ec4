// @ts-check
// One small chart: lines over time, with a reading line. Drawn as SVG; the numbers are text beside it.

import { element, put, svg } from "./dom.js";

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {string} tone a class, which sets its colour
 * @property {(sample: any) => number | null | undefined} value
 *
 * @typedef {object} Shape
 * @property {string} title
 * @property {(value: number) => string} format
 * @property {Line[]} lines
 * @property {number} [unit] the scale has round numbers of it
 */

const HEIGHT = 64;

export class Chart {
  element;
  #shape;
  #svg = svg("svg", { "aria-hidden": "true", focusable: "false", preserveAspectRatio: "none" });
  #cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT });
  #areas;
  #paths;
  #values;
  #top = element("span", "top-value");
  #width = 0;
  /** @type {any[]} */
  #samples = [];
  #step = 1;
  #end = 0;
  #count = 60;

  /** @param {Shape} shape */
  constructor(shape) {
    this.#shape = shape;
    this.#areas = shape.lines.map(({ tone }) => svg("path", { class: `area ${tone}` }));
    this.#paths = shape.lines.map(({ tone }) => svg("path", { class: `line ${tone}` }));
    this.#values = shape.lines.map(() => element("dd", "", "–"));
    const grid = [0.5, HEIGHT / 2, HEIGHT - 0.5].map((y) => svg("line", { class: "grid", x1: 0, x2: "100%", y1: y, y2: y }));
    this.#svg.append(...grid, ...this.#areas, ...this.#paths, this.#cursor);
    const readings = shape.lines.map(({ name, tone }, index) => element("div", tone, element("dt", "", name), this.#values[index] ?? ""));
    const plot = element("div", "plot");
    plot.append(this.#svg, this.#top);
    this.element = element("figure", "chart", element("figcaption", "", shape.title), element("dl", "readings", ...readings), plot);
    new ResizeObserver(() => {
      this.#width = plot.clientWidth;
      this.#draw();
    }).observe(plot);
  }

  /**
   * @param {any[]} samples the oldest first
   * @param {number} step seconds from one to the next
   * @param {number} count how many fit
   */
  show(samples, step, count) {
    this.#samples = samples;
    this.#step = step;
    this.#count = count;
    this.#end = samples.at(-1)?.time ?? 0;
    this.#draw();
  }

  /** Read the values of a sample, at its place. @param {any} sample @param {boolean} marked */
  read(sample, marked) {
    for (const [index, { value }] of this.#shape.lines.entries()) {
      const read = sample && value(sample);
      put(/** @type {Element} */ (this.#values[index]), typeof read === "number" ? this.#shape.format(read) : "–");
    }
    this.#cursor.classList.toggle("shown", marked);
    if (marked) {
      const x = String(this.#x(sample.time));
      this.#cursor.setAttribute("x1", x);
      this.#cursor.setAttribute("x2", x);
    }
  }

  /** The sample at this part of the width. @param {number} part */
  nearest(part) {
    const time = this.#end - (1 - part) * this.#step * (this.#count - 1);
    let best;
    for (const sample of this.#samples) {
      if (!best || Math.abs(sample.time - time) < Math.abs(best.time - time)) best = sample;
    }
    return best;
  }

  /** @param {number} time */
  #x(time) {
    return this.#width * (1 - (this.#end - time) / (this.#step * (this.#count - 1)));
  }

  #draw() {
    if (!this.#width) return;
    const { lines, format, unit = 1 } = this.#shape;
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    let largest = 0;
    for (const sample of this.#samples) for (const { value } of lines) largest = Math.max(largest, value(sample) ?? 0);
    const top = unit * rounded(largest / unit);
    put(this.#top, this.#samples.length ? format(top) : "");
    for (const [index, { value }] of lines.entries()) {
      let line = "";
      let area = "";
      /** @type {string[]} */
      let run = [];
      let from = 0;
      let to = 0;
      const finish = () => {
        if (run.length === 1) run.push(`${(to + 1).toFixed(1)} ${run[0]?.split(" ")[1]}`);
        if (run.length) {
          line += `M${run.join("L")}`;
          area += `M${from.toFixed(1)} ${HEIGHT}L${run.join("L")}L${to.toFixed(1)} ${HEIGHT}Z`;
        }
        run = [];
      };
      let before = 0;
      for (const sample of this.#samples) {
        const read = value(sample);
        // Where samples are missing, so is the line.
        if (typeof read !== "number" || sample.time - before > 2.5 * this.#step) finish();
        before = sample.time;
        if (typeof read !== "number") continue;
        to = this.#x(sample.time);
        if (!run.length) from = to;
        run.push(`${to.toFixed(1)} ${(HEIGHT - 1 - (Math.min(read, top) / top) * (HEIGHT - 4)).toFixed(1)}`);
      }
      finish();
      this.#paths[index]?.setAttribute("d", line);
      this.#areas[index]?.setAttribute("d", index ? "" : area);
    }
  }
}

/** The next 1, 2 or 5 with zeros. @param {number} value */
function rounded(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((one) => one * power >= value) ?? 10) * power;
}
