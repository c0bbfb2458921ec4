// The stream against a real server.

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
