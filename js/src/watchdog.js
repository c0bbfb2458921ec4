// Notices silence: of a server that promised to speak, or of the tab that holds the connection.

/**
 * Return a watchdog that calls `bark` when nothing was heard for `patience` milliseconds; 0 is for ever. A
 * machine that slept gets a moment on waking, for what came meanwhile is still to be read.
 *
 * @param {() => void} bark
 */
export function watchdog(bark, patience = 0) {
  let heard = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const stop = () => {
    clearTimeout(timer);
    timer = undefined;
  };

  const sleep = (/** @type {number} */ ms, last = false) => {
    stop();
    const due = Date.now() + ms;
    timer = setTimeout(() => {
      timer = undefined;
      const now = Date.now();
      const left = heard + self.patience - now;
      if (left > 0) sleep(Math.min(left, self.patience));
      else if (!last && now > due + 1000) sleep(1000, true);
      else bark();
    }, ms);
  };

  const self = {
    patience,
    stop,
    /** Something was heard, or is to be awaited from now on. */
    hear() {
      heard = Date.now();
      if (self.patience && !timer) sleep(self.patience);
    },
    /** The page was away, and its timers with it: look now. */
    look() {
      if (timer && Date.now() > heard + self.patience) sleep(1000, true);
    },
  };
  return self;
}
