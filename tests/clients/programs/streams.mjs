// SSE clients of others for Node: what streams.py is for Python.

import { createInterface } from "node:readline";

// Event types that a program of a native-like client must name to get them.
const TYPES = ["message", "hub.position", "hub.gap", "hub.end"];

const readers = {
  async eventsource(url, show) {
    const { EventSource } = await import("eventsource");
    await new Promise((resolve, reject) => {
      const source = new EventSource(url);
      for (const type of TYPES) {
        source.addEventListener(type, ({ data, lastEventId }) => show({ event: type, id: lastEventId, data }));
      }
      source.onerror = ({ code, message }) => {
        if (source.readyState !== source.CLOSED) return;
        code === 204 ? resolve() : reject(new Error(message));
      };
    });
  },

  async "eventsource-client"(url, show) {
    const { createEventSource } = await import("eventsource-client");
    const client = createEventSource({ url, onDisconnect: () => {} });
    for await (const { event, id, data } of client) show({ event: event ?? "message", id, data });
  },
};

let count = 0;

for await (const url of createInterface({ input: process.stdin })) {
  const number = count++;
  const show = (line) => console.log(JSON.stringify({ number, ...line }));
  readers[process.argv[2]](url, show).then(
    () => show({ over: "end", why: "" }),
    (error) => show({ over: "error", why: String(error) }),
  );
}
process.exit(0);
