// The browser's own EventSource, or ours over fetch() where there is none.

export const Source = globalThis.EventSource ?? (await import("/tidewire.js")).EventStream;

/** A name for what belongs to this page view alone. */
export function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => (byte % 36).toString(36)).join("");
}
