// @ts-check
// Small helpers for the document. Text goes into it as text nodes only.

/**
 * Return the element with this id, which index.html has.
 *
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function $(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return /** @type {T} */ (/** @type {unknown} */ (found));
}

/**
 * Make an HTML element. A string among the children becomes text.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [className]
 * @param {...(Node | string)} children
 */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/**
 * Make an SVG element.
 *
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} [attributes]
 */
export function svg(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/**
 * Set the text of an element, if it changes: the browser then has nothing to do for the others.
 *
 * @param {Element} target
 * @param {string} text
 */
export function put(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * Call `work` once in the next frame, however often the returned function is called until then.
 *
 * @param {() => void} work
 */
export function oncePerFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}

/**
 * Let a button copy a text to the clipboard and say so for a moment.
 *
 * @param {HTMLButtonElement} button
 * @param {() => string} text
 */
export function copies(button, text) {
  const label = button.textContent ?? "";
  button.addEventListener("click", async () => {
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      said = "Not allowed"; // by the browser, for pages without TLS that are not on this machine
    }
    button.textContent = said;
    setTimeout(() => (button.textContent = label), 1500);
  });
}
