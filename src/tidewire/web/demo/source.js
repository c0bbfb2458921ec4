// Our client, or with ?client=native the browser's EventSource. The hub serves both.

import { EventStream } from "/tidewire.js";

export const CLIENTS = { tidewire: EventStream, native: globalThis.EventSource };

/** The client named in the URL, if the browser has it. */
export function clientInUrl() {
  const name = new URLSearchParams(location.search).get("client");
  return CLIENTS[name] ? name : "tidewire";
}

/** A random name, for this page view only. */
export function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => (byte % 36).toString(36)).join("");
}
