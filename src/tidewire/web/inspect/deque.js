// @ts-check
// A list that grows at its end and is cut at its front, both in constant time.

/** @template T */
export class Deque {
  /** @type {T[]} */
  #items = [];
  #first = 0;

  get length() {
    return this.#items.length - this.#first;
  }

  /**
   * @param {number} index from the front
   * @returns {T | undefined}
   */
  at(index) {
    return this.#items[this.#first + index];
  }

  /** @param {T} item */
  push(item) {
    this.#items.push(item);
  }

  /** Take one from the front. */
  shift() {
    const item = this.#items[this.#first];
    this.#first += 1;
    if (this.#first > 4096 && this.#first * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }

  clear() {
    this.#items = [];
    this.#first = 0;
  }

  *[Symbol.iterator]() {
    for (let index = this.#first; index < this.#items.length; index += 1) {
      yield /** @type {T} */ (this.#items[index]);
    }
  }
}
