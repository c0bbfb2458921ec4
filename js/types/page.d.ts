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
export function watchPage(signal: AbortSignal, { leave, back, show, hide }: {
    leave: () => void;
    back: () => void;
    show: () => void;
    hide: () => void;
}): void;
/**
 * Read an item of the tab's storage, which survives a reload, after writing it if there is a value. Without access
 * to the storage return null.
 *
 * @param {string} key
 * @param {string} [value]
 */
export function stored(key: string, value?: string): string | null;
export function hidden(): boolean;
