// Tidewire's browser client: EventSource over fetch(), with what EventSource lacks.
//
//   import { EventStream } from "/tidewire.js";
//   const stream = new EventStream("/events/news");
//   stream.onmessage = (event) => console.log(event.lastEventId, event.data);
//
// A drop-in replacement for EventSource (WHATWG HTML, section 9.2): the same constants, events, handlers and
// close(). It retries after transient answers (408, 425, 429 and 5xx) with backoff, notices a silent server,
// keeps its position, and can share one connection among all tabs.

export { decoder } from "./decoder.js";
/** @typedef {import("./events.js").StreamError} StreamError */
/** @typedef {import("./stream.js").Options} Options */
export { StreamEvent } from "./events.js";
export { EventStream } from "./stream.js";
