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
export function watchPage(signal: AbortSignal, { leave, back, show, hide }: {
    leave: () => void;
    back: () => void;
    show: () => void;
    hide: () => void;
}): void;
/**
 * Read from the page's own memory, which a reload does not empty, and write to it. Nothing where it is forbidden: a
 * reload begins anew then.
 *
 * @param {string} key
 * @param {string} [value]
 */
export function memory(key: string, value?: string): string | null;
export function hidden(): boolean;
