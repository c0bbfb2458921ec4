// The stream against real servers, one of them of another origin.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { EventStream } from "../src/tidewire.js";

/** Start a server; `requests` holds what it was asked. Closed at the end of the test. */
async function serve(t, answer) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push(request);
    request.resume();
    answer(response);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, requests };
}

const streaming = (body) => (response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.write(body);
};

const redirecting = (status, location) => (response) => response.writeHead(status, { Location: location }).end();

/** Open a stream and return what it dispatches first: `open` or `error`. */
async function first(t, url, options) {
  const stream = new EventStream(url, options);
  t.after(() => stream.close());
  const event = await new Promise((done) => (stream.onopen = stream.onerror = done));
  return { stream, event };
}

const OWN = {
  "a header": { headers: { "X-Api-Key": "secret" } },
  "Authorization": { headers: { Authorization: "Bearer secret" } },
  "a header of a function": { headers: async () => [["X-Api-Key", "secret"]] },
  "a body": { method: "POST", body: "secret" },
  "an empty body": { method: "POST", body: "" },
};

for (const [what, options] of Object.entries(OWN)) {
  for (const status of [301, 302, 303, 307, 308]) {
    test(`with ${what} a ${status} is not followed`, async (t) => {
      const there = await serve(t, streaming(": no\n"));
      const here = await serve(t, redirecting(status, there.url));
      const { stream, event } = await first(t, here.url, options);
      assert.equal(event.type, "error");
      assert.equal(event.reason, "redirect");
      assert.match(event.message, /a request with headers or a body does not follow redirects/);
      assert.equal(event.final, true);
      assert.equal(stream.readyState, EventStream.CLOSED);
      assert.deepEqual([here.requests.length, there.requests.length], [1, 0]);
    });
  }
}

test("without headers and a body redirects to another origin are followed", async (t) => {
  const there = await serve(t, streaming(": yes\n"));
  const here = await serve(t, redirecting(307, there.url));
  for (const options of [{}, { headers: {} }, { headers: () => [] }, { lastEventId: "7" }]) {
    const { event } = await first(t, here.url, options);
    assert.equal(event.type, "open");
  }
  assert.equal(there.requests.length, 4);
});

test("events of the server with the names of the stream's own do not reach their listeners", async (t) => {
  const names = ["error", "open", "gap", "end", "close", "*"];
  const body = names.map((name) => `event: ${name}\ndata: ${name}\n\n`).join("");
  const { url } = await serve(t, streaming(`${body}data: last\n\n`));
  const stream = new EventStream(url);
  t.after(() => stream.close());
  const heard = [];
  for (const type of [...names, ...names.map((name) => `event:${name}`)]) {
    stream.addEventListener(type, (event) => heard.push([type, event instanceof MessageEvent, event.detail?.type ?? event.data]));
  }
  stream.onopen = (event) => heard.push(["onopen", event instanceof MessageEvent, event.data]);
  stream.onerror = (event) => heard.push(["onerror", event instanceof MessageEvent, event.data]);
  const iterated = [];
  for await (const { type, data } of stream) {
    iterated.push([type, data]);
    if (data === "last") break;
  }
  assert.deepEqual(iterated, [...names.map((name) => [name, name]), ["message", "last"]]);
  assert.deepEqual(heard, [
    ["onopen", false, undefined],
    ["open", false, undefined],
    ["event:error", true, "error"],
    ["*", false, "error"],
    ["event:open", true, "open"],
    ["*", false, "open"],
    ["gap", true, "gap"],
    ["*", false, "gap"],
    ["end", true, "end"],
    ["*", false, "end"],
    ["close", true, "close"],
    ["*", false, "close"],
    ["event:*", true, "*"],
    ["*", false, "*"],
    ["*", false, "message"],
  ]);
});
