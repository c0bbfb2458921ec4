// @ts-check
// A table of any length. Only the visible rows are in the document; all have the same height, the style's --row.
//
// Keys: up, down, page up and down, home, end move the selection; escape removes it.

import { element, oncePerFrame, put } from "./dom.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} name the class of its cells
 * @property {string} label
 * @property {(row: T) => string} text
 * @property {(row: T) => number | string} [order] makes the column sortable
 * @property {boolean} [down] whether it sorts the largest first
 */

/**
 * @template T
 * @typedef {object} Source
 * @property {number} length
 * @property {(index: number) => T | undefined} at
 */

const SPARE = 4; // rows above and below the visible ones

/** @template T */
export class Table {
  /** @type {Source<T>} */
  source = [];
  /** The key of the selected row. @type {unknown} */
  selected = undefined;
  /** Whether the newest rows stay in view. */
  follow = false;
  /** @type {Column<T> | undefined} */
  sorted;
  /** @type {HTMLElement[]} */
  #pool = [];
  #columns;
  #options;
  #root;
  #rows = element("div", "rows");
  #heads;
  #height = 0;
  #count = -1;
  #view = 0;
  #top = 0;

  /**
   * @param {HTMLElement} root an empty element with the class `table`
   * @param {Column<T>[]} columns
   * @param {object} options
   * @param {(row: T) => unknown} options.key
   * @param {(row: T) => string} [options.tone] a class for the row
   * @param {(row: T | undefined, key: unknown) => void} options.onSelect
   * @param {() => void} [options.onSort]
   * @param {() => void} [options.onScroll]
   */
  constructor(root, columns, options) {
    this.#root = root;
    this.#columns = columns;
    this.#options = options;
    this.#heads = columns.map((column) => this.#head(column));
    const head = element("div", "head", ...this.#heads);
    head.setAttribute("role", "row");
    head.ariaRowIndex = "1";
    this.#rows.setAttribute("role", "rowgroup");
    const top = element("div", "top-rows", head);
    top.setAttribute("role", "rowgroup");
    root.setAttribute("role", "grid");
    root.tabIndex = 0;
    root.append(top, this.#rows);
    this.draw = oncePerFrame(() => this.#draw());
    root.addEventListener("scroll", () => {
      this.#options.onScroll?.();
      this.draw();
    });
    root.addEventListener("keydown", (event) => this.#key(event));
    // What is read from the layout is read here only: reading it in each frame would lay the page out twice.
    new ResizeObserver(() => {
      this.#height = parseFloat(getComputedStyle(root).getPropertyValue("--row")) || 26;
      this.#view = root.clientHeight;
      this.#top = top.offsetHeight;
      this.draw();
    }).observe(root);
  }

  /** Whether the end of the table is in view. */
  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#root;
    return scrollHeight - scrollTop - clientHeight < this.#height;
  }

  /** Whether all rows are in view. */
  get fits() {
    return this.source.length * this.#height + this.#top <= this.#view;
  }

  toEnd() {
    this.#root.scrollTop = this.#root.scrollHeight;
  }

  /** Keep the same rows in view when rows at the front are gone. @param {number} rows */
  shifted(rows) {
    if (rows && !this.follow) this.#root.scrollTop -= rows * this.#height;
  }

  /** @param {unknown} key */
  select(key) {
    this.selected = key;
    const row = this.#find(key);
    this.#options.onSelect(row < 0 ? undefined : this.source.at(row), key);
    this.draw();
  }

  /** @param {Column<T>} column */
  sort(column) {
    this.sorted = column;
    for (const [index, each] of this.#columns.entries()) {
      const head = /** @type {HTMLElement} */ (this.#heads[index]);
      head.ariaSort = each === column ? (each.down ? "descending" : "ascending") : null;
    }
  }

  /** Return the rows in the order of the sorted column. @param {T[]} rows */
  ordered(rows) {
    const { order, down } = this.sorted ?? {};
    if (!order) return rows;
    const sign = down ? -1 : 1;
    return rows
      .map((row) => ({ row, by: order(row) }))
      .sort((a, b) => (a.by < b.by ? -sign : a.by > b.by ? sign : 0))
      .map(({ row }) => row);
  }

  /** @param {Column<T>} column */
  #head(column) {
    const cell = element("div", column.name);
    cell.setAttribute("role", "columnheader");
    if (column.order) {
      const button = element("button", "sort", column.label);
      button.type = "button";
      button.addEventListener("click", () => {
        if (this.sorted === column) column.down = !column.down;
        this.sort(column);
        this.#options.onSort?.();
      });
      cell.append(button);
    } else cell.append(column.label);
    return cell;
  }

  /** @param {unknown} key */
  #find(key) {
    if (key === undefined) return -1;
    for (let index = this.source.length - 1; index >= 0; index -= 1) {
      const row = this.source.at(index);
      if (row !== undefined && this.#options.key(row) === key) return index;
    }
    return -1;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.target !== this.#root || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.source.length - 1;
    const at = this.#find(this.selected);
    const page = Math.max(1, Math.floor(this.#root.clientHeight / this.#height) - 2);
    /** @type {Record<string, number>} */
    const moves = {
      ArrowDown: at + 1,
      ArrowUp: at < 0 ? last : at - 1,
      PageDown: at + page,
      PageUp: at < 0 ? last : at - page,
      Home: 0,
      End: last,
    };
    const to = moves[event.key];
    if (event.key === "Escape" && this.selected !== undefined) this.select(undefined);
    else if (to !== undefined && last >= 0) {
      const index = Math.min(last, Math.max(0, to));
      const row = this.source.at(index);
      if (row !== undefined) this.select(this.#options.key(row));
      this.#show(index);
    } else return;
    event.preventDefault();
  }

  /** Scroll until the row is in view. @param {number} index */
  #show(index) {
    const { scrollTop, clientHeight } = this.#root;
    const top = index * this.#height;
    const head = /** @type {HTMLElement} */ (this.#root.firstElementChild).offsetHeight;
    if (top < scrollTop) this.#root.scrollTop = top;
    else if (top + this.#height + head > scrollTop + clientHeight) {
      this.#root.scrollTop = top + this.#height + head - clientHeight;
    }
  }

  #draw() {
    const root = this.#root;
    if (!this.#view) return; // in a hidden view
    const { key, tone } = this.#options;
    const count = this.source.length;
    if (count !== this.#count) {
      this.#count = count;
      this.#rows.style.blockSize = `${count * this.#height}px`;
      root.ariaRowCount = String(count + 1);
    }
    const end = Math.max(0, count * this.#height + this.#top - this.#view);
    const from = this.follow ? end : root.scrollTop;
    const first = Math.max(0, Math.floor(from / this.#height) - SPARE);
    const shown = Math.ceil(this.#view / this.#height) + 2 * SPARE;
    while (this.#pool.length < shown) this.#grow();
    let active = "";
    for (let index = first; index < first + this.#pool.length; index += 1) {
      // A row that stays in view keeps its element.
      const line = /** @type {HTMLElement} */ (this.#pool[index % this.#pool.length]);
      const row = index < count ? this.source.at(index) : undefined;
      if (line.hidden !== (row === undefined)) line.hidden = row === undefined;
      if (row === undefined) continue;
      const selected = this.selected !== undefined && key(row) === this.selected;
      if (selected) active = line.id;
      const tones = `row ${tone?.(row) ?? ""}`;
      if (line.className !== tones) line.className = tones;
      if (line.ariaSelected !== String(selected)) line.ariaSelected = String(selected);
      if (line.dataset.index !== String(index)) {
        line.dataset.index = String(index);
        line.ariaRowIndex = String(index + 2);
        line.style.transform = `translateY(${index * this.#height}px)`;
      }
      for (const [at, column] of this.#columns.entries()) put(/** @type {Element} */ (line.children[at]), column.text(row));
    }
    if (this.follow) this.toEnd();
    if (active) root.setAttribute("aria-activedescendant", active);
    else root.removeAttribute("aria-activedescendant");
  }

  #grow() {
    const cells = this.#columns.map(({ name }) => {
      const cell = element("div", name);
      cell.setAttribute("role", "gridcell");
      return cell;
    });
    const line = element("div", "row", ...cells);
    line.setAttribute("role", "row");
    line.id = `${this.#root.id}-${this.#pool.length}`;
    // Not on a click: between press and release the row may have moved on.
    line.addEventListener("mousedown", ({ button }) => {
      if (button) return;
      const row = this.source.at(Number(line.dataset.index));
      if (row !== undefined) this.select(this.#options.key(row));
    });
    this.#pool.push(line);
    this.#rows.append(line);
  }
}
