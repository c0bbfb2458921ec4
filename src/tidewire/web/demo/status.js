// The server's view of a stream, which a page cannot see: it is requested every second.

const PERIOD = 1000;

export async function fetchStatus(topic) {
  const response = await fetch(`/demo/status?topic=${encodeURIComponent(topic)}`, { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

/** Call `update` every second while the page is visible. Errors are ignored. */
export function poll(update) {
  const next = async () => {
    if (document.visibilityState === "visible") await update().catch(() => {});
    setTimeout(next, PERIOD);
  };
  next();
}
