// Tidewire's browser client: EventSource over fetch, with what EventSource lacks.
//
//   import { EventStream } from "/tidewire.js";
//   const stream = new EventStream("/events/news");
//   stream.onmessage = (event) => console.log(event.lastEventId, event.data);
//
// A drop-in for EventSource (WHATWG HTML, section 9.2): the same constants, events, handlers and
// close(). It outlives answers that may pass (408, 425, 429 and 5xx), waits longer while attempts keep
// failing, notices a server that fell silent, keeps its place, and can share one connection among all tabs.

export { decoder } from "./decoder.js";
/** @typedef {import("./events.js").StreamError} StreamError */
export { StreamEvent } from "./events.js";
export { EventStream } from "./stream.js";
