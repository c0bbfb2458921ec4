// What a page cannot see of its own stream: the server tells it, in a small answer asked for now and then.

const PERIOD = 1000;

export async function fetchStatus(topic) {
  const response = await fetch(`/demo/status?topic=${encodeURIComponent(topic)}`, { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

/** Call `ask` every second while the page is in sight; a server that is away is asked again. */
export function poll(ask) {
  const next = async () => {
    if (document.visibilityState === "visible") await ask().catch(() => {});
    setTimeout(next, PERIOD);
  };
  next();
}
