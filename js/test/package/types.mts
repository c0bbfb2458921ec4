// What TypeScript programs of users do. tests/js/test_package.py compiles it with the package, also as CommonJS.

import { EventStream, type Options, type StreamError } from "tidewire";

const options: Options = { topics: ["a"], idParameter: "last_event_id", fetch: (url, init) => fetch(url, init) };
const stream: EventSource = new EventStream("/events", options);
const Class: typeof EventSource = EventStream;
const open: 1 = EventStream.OPEN;

const typed = new EventStream<{ message: string; tick: { n: number } }>("/events");
typed.onmessage = (event) => event.json().toUpperCase();
typed.onerror = ({ message }: StreamError) => message.toUpperCase();
typed.addEventListener("tick", (event) => event.json().n.toFixed());
typed.addEventListener("error", ({ message }) => message.toUpperCase());
// @ts-expect-error A number has no such method.
typed.addEventListener("tick", (event) => event.json().n.toUpperCase());
// @ts-expect-error The data of a message is a string.
typed.onmessage = (event) => event.json().toFixed();

export { Class, open, stream };
