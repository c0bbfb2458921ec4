// Events of the page around a stream, and its storage.

/** Whether the page is hidden. */
export const hidden = () => globalThis.document?.visibilityState === "hidden";

/**
 * Call back on each change, until the signal is aborted.
 *
 * @param {AbortSignal} signal
 * @param {object} changes
 * @param {() => void} changes.leave the page is unloaded, cached or frozen
 * @param {() => void} changes.back the page is active again
 * @param {() => void} changes.show the page is visible or online again
 * @param {() => void} changes.hide
 */
export function watchPage(signal, { leave, back, show, hide }) {
  /** @type {(target: EventTarget | undefined, type: string, listener: () => void) => void} */
  const on = (target, type, listener) => target?.addEventListener?.(type, listener, { signal });
  const { document } = globalThis;
  // An open connection would keep the page out of the back/forward cache.
  on(globalThis, "pagehide", leave);
  on(globalThis, "pageshow", back);
  on(globalThis, "online", show);
  on(document, "freeze", leave);
  on(document, "resume", back);
  on(document, "visibilitychange", () => (hidden() ? hide() : show()));
}

/**
 * Read an item of the tab's storage, which survives a reload, after writing it if there is a value. Without access
 * to the storage return null.
 *
 * @param {string} key
 * @param {string} [value]
 */
export function stored(key, value) {
  try {
    if (value !== undefined) sessionStorage.setItem(key, value);
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}
