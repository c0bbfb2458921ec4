/**
 * Return a watchdog that calls `bark` if nothing was heard for `timeout` milliseconds; 0 means never. After the
 * machine slept it waits a second more, since what arrived in the meantime has not been read yet.
 *
 * @param {() => void} bark
 */
export function watchdog(bark: () => void, timeout?: number): {
    timeout: number;
    stop: () => void;
    /** Something was heard, or the wait for it starts now. */
    hear(): void;
    /** The page was suspended, and its timers with it: check now. */
    check(): void;
};
