// Our client, or with ?client=native the browser's own EventSource: the hub serves both.

import { EventStream } from "/tidewire.js";

export const CLIENTS = { tidewire: EventStream, native: globalThis.EventSource };

/** The client that the address asks for, where the browser has it. */
export function askedFor() {
  const name = new URLSearchParams(location.search).get("client");
  return CLIENTS[name] ? name : "tidewire";
}

/** A name for what belongs to this page view alone. */
export function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => (byte % 36).toString(36)).join("");
}
