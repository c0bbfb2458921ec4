// Notices silence: of a server that sends heartbeats, or of the tab that holds the connection.

/**
 * Return a watchdog that calls `bark` if nothing was heard for `timeout` milliseconds; 0 means never. After the
 * machine slept it waits a second more, since what arrived in the meantime has not been read yet.
 *
 * @param {() => void} bark
 */
export function watchdog(bark, timeout = 0) {
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
      const left = heard + self.timeout - now;
      if (left > 0) sleep(Math.min(left, self.timeout));
      else if (!last && now > due + 1000) sleep(1000, true);
      else bark();
    }, ms);
  };

  const self = {
    timeout,
    stop,
    /** Something was heard, or the wait for it starts now. */
    hear() {
      heard = Date.now();
      if (self.timeout && !timer) sleep(self.timeout);
    },
    /** The page was suspended, and its timers with it: check now. */
    check() {
      if (timer && Date.now() > heard + self.timeout) sleep(1000, true);
    },
  };
  return self;
}
