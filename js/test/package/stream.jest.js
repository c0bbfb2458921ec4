// A program that is tested by Jest in jsdom. tests/js/test_package.py runs it with the package.

// What the jsdom of Jest lacks.
const { TextDecoder, TextEncoder } = require("node:util");
Object.assign(globalThis, { TextDecoder, TextEncoder });
const { EventStream } = require("tidewire");

test("a stream with the fetch of a test", async () => {
  const chunks = [Uint8Array.from('id: 1\ndata: {"n":1}\n\n', (character) => character.charCodeAt())];
  const answer = {
    status: 200,
    headers: [["content-type", "text/event-stream"]],
    body: { getReader: () => ({ read: async () => ({ value: chunks.shift() }) }) },
  };
  const fetch = jest.fn(async () => answer);
  const stream = new EventStream("/events", { fetch });
  const event = await new Promise((done) => (stream.onmessage = done));
  stream.close();
  expect(event).toBeInstanceOf(MessageEvent);
  expect([event.json().n, event.lastEventId, event.origin]).toEqual([1, "1", location.origin]);
  expect(fetch.mock.calls[0][0]).toBe(`${location.origin}/events`);
});
