/**
 * Return a watchdog that calls `bark` when nothing was heard for `patience` milliseconds; 0 is for ever. A
 * machine that slept gets a moment on waking, for what came meanwhile is still to be read.
 *
 * @param {() => void} bark
 */
export function watchdog(bark: () => void, patience?: number): {
    patience: number;
    stop: () => void;
    /** Something was heard, or is to be awaited from now on. */
    hear(): void;
    /** The page was away, and its timers with it: look now. */
    look(): void;
};
