// What happens to the page around a stream.

/** Whether nobody can see the page. */
export const hidden = () => globalThis.document?.visibilityState === "hidden";

/**
 * Call back on every change, until the signal is aborted.
 *
 * @param {AbortSignal} signal
 * @param {object} changes
 * @param {() => void} changes.leave the page goes away, for good or for a while, or is frozen
 * @param {() => void} changes.back it is here again
 * @param {() => void} changes.show it is in sight again, or has a network again
 * @param {() => void} changes.hide
 */
export function watchPage(signal, { leave, back, show, hide }) {
  /** @type {(target: EventTarget | undefined, type: string, listener: () => void) => void} */
  const on = (target, type, listener) => target?.addEventListener?.(type, listener, { signal });
  const { document } = globalThis;
  // An open connection would outlast the page, and keep it out of the browser's cache of pages.
  on(globalThis, "pagehide", leave);
  on(globalThis, "pageshow", back);
  on(globalThis, "online", show);
  on(document, "freeze", leave);
  on(document, "resume", back);
  on(document, "visibilitychange", () => (hidden() ? hide() : show()));
}

/**
 * Read from the page's own memory, which a reload does not empty, and write to it. Nothing where it is forbidden: a
 * reload begins anew then.
 *
 * @param {string} key
 * @param {string} [value]
 */
export function memory(key, value) {
  try {
    if (value !== undefined) sessionStorage.setItem(key, value);
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}
