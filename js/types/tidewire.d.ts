export { decoder } from "./decoder.js";
export { StreamEvent } from "./events.js";
export { EventStream } from "./stream.js";
export type StreamError = import("./events.js").StreamError;
export type Options = import("./stream.js").Options;
