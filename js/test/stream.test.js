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

test("every error has a message", async (t) => {
  const html = (response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<p>");
  const status = (number, body) => (response) => response.writeHead(number, { "Content-Type": "application/json" }).end(body);
  const cases = [
    [status(503, '{"detail":"try later"}'), "status", /^try later$/],
    [status(503, '{"detail":[{"loc":"a"}]}'), "status", /^status 503 Service Unavailable$/],
    [status(404, "not json"), "status", /^status 404 Not Found$/],
    [status(204), "done", /^status 204: there is nothing more to come$/],
    [html, "type", /^the content type is text\/html, not text\/event-stream$/],
    [(response) => response.writeHead(200).end("?"), "type", /^the content type is missing, not text\/event-stream$/],
    [redirecting(307, "/"), "network", /./],
    [(response) => response.destroy(), "network", /./],
  ];
  for (const [answer, reason, message] of cases) {
    const { url } = await serve(t, answer);
    const { event } = await first(t, url);
    assert.equal(event.reason, reason);
    assert.match(event.message, message);
  }
  const { event } = await first(t, "ftp://127.0.0.1/");
  assert.deepEqual([event.reason, event.message], ["request", "not an http: or https: URL: ftp://127.0.0.1/"]);
});

test("the message of an error tells of silence, and of an end", async (t) => {
  const { url } = await serve(t, (response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Tidewire-Heartbeat": "0.01" });
    response.write(": here\n");
  });
  const ended = await serve(t, (response) => response.writeHead(200, { "Content-Type": "text/event-stream" }).end(":\n"));
  for (const [address, reason, message] of [
    [url, "silent", "received nothing for 0.025 s"],
    [ended.url, "end", "the server ended the stream"],
  ]) {
    const stream = new EventStream(address);
    t.after(() => stream.close());
    const event = await new Promise((done) => (stream.onerror = done));
    assert.deepEqual([event.reason, event.message], [reason, message]);
  }
});

test("a fetch of the program is called instead of the global one", async (t) => {
  const { url, requests } = await serve(t, streaming("data: 1\n\n"));
  const calls = [];
  const { event } = await first(t, url, {
    fetch: (address, init) => {
      calls.push(address);
      return fetch(`${address}?by=us`, init);
    },
  });
  assert.equal(event.type, "open");
  assert.deepEqual([calls, requests[0].url], [[url], "/?by=us"]);
  const refused = await first(t, url, { fetch: () => { throw new Error("no proxy"); } });
  assert.deepEqual([refused.event.reason, refused.event.message], ["network", "Error: no proxy"]);
});

/** Pretend to be a page of another origin. Return the requests of a stream that starts after the event 7. */
async function requestsAcrossOrigins(t, options, succeeds) {
  globalThis.location = { href: "https://page.test/", origin: "https://page.test" };
  t.after(() => delete globalThis.location);
  const seen = [];
  const fetch = async (url, { headers }) => {
    seen.push([url, headers.get("Last-Event-ID")]);
    if (!succeeds(url, headers)) throw new TypeError("Failed to fetch");
    return new Response("retry: 500\nid: é&8\ndata: 1\n\n", { headers: { "Content-Type": "text/event-stream" } });
  };
  const stream = new EventStream("https://hub.test/events?a=b", { lastEventId: "7", fetch, ...options });
  t.after(() => stream.close());
  const before = Math.random;
  t.after(() => (Math.random = before));
  Math.random = () => 0;
  stream.addEventListener("error", () => queueMicrotask(() => setTimeout(() => stream.reconnect())));
  while (seen.length < 4) await new Promise((done) => setTimeout(done, 1));
  return seen.slice(0, 4);
}

// A browser asks by a preflight whether it may send Last-Event-ID to another origin.
const noPreflight = (url, headers) => !headers.has("Last-Event-ID");

test("where no preflight is answered, the id goes in the query after the first failure", async (t) => {
  const address = "https://hub.test/events?a=b";
  assert.deepEqual(await requestsAcrossOrigins(t, { idParameter: "last" }, noPreflight), [
    [address, "7"],
    [`${address}&last=7`, null],
    [`${address}&last=%C3%A9%268`, null],
    [`${address}&last=%C3%A9%268`, null],
  ]);
});

test("without idParameter, and where the header is allowed, the id goes in the header", async (t) => {
  const address = "https://hub.test/events?a=b";
  const refused = await requestsAcrossOrigins(t, {}, noPreflight);
  assert.deepEqual(refused, Array(4).fill([address, "7"]));
  const allowed = await requestsAcrossOrigins(t, { idParameter: "last" }, () => true);
  assert.deepEqual(allowed, [[address, "7"], ...Array(3).fill([address, "Ã©&8"])]);
});

/** Answer each request with the next of `answers`; the last one again and again. */
const inTurn = (...answers) => (response) => (answers.length > 1 ? answers.shift() : answers[0])(response);

const refusing = (status) => (response) => response.writeHead(status).end();

/** Open a stream and return the `error` events until it is closed or has opened `times` times. */
async function failures(t, url, options, times = 1) {
  const stream = new EventStream(url, options);
  t.after(() => stream.close());
  const seen = [];
  await new Promise((done) => {
    stream.onopen = () => --times || done();
    stream.onerror = (event) => seen.push(event) && event.final && done();
  });
  return seen.map(({ status, final, failures, delay }) => ({ status, final, failures, delay }));
}

test("after a 401 the function for headers is asked for a new token, at once", async (t) => {
  const server = await serve(t, inTurn(refusing(401), streaming(": hello\n")));
  const asked = [];
  const headers = async (attempt) => {
    asked.push(attempt);
    return { Authorization: `Bearer ${asked.length}` };
  };
  const seen = await failures(t, server.url, { headers });
  assert.deepEqual(seen, [{ status: 401, final: false, failures: 1, delay: 0 }]);
  assert.deepEqual(asked, [{ failures: 0 }, { failures: 1 }]);
  assert.deepEqual(server.requests.map(({ headers }) => headers.authorization), ["Bearer 1", "Bearer 2"]);
});

test("a second 401 in a row is final, and so is one that no function can change", async (t) => {
  const server = await serve(t, refusing(401));
  const seen = await failures(t, server.url, { headers: () => ({ Authorization: "Bearer x" }) });
  assert.deepEqual(seen.map(({ final }) => final), [false, true]);
  assert.equal(server.requests.length, 2);
  for (const options of [{}, { headers: { Authorization: "Bearer x" } }]) {
    assert.deepEqual((await failures(t, server.url, options)).map(({ final }) => final), [true]);
  }
  assert.equal(server.requests.length, 4);
});

test("a token may expire again and again", async (t) => {
  const once = (response) => {
    streaming("retry: 500\n: hello\n")(response);
    response.end();
  };
  const server = await serve(t, inTurn(refusing(401), once, refusing(401), once, refusing(401), streaming(": yes\n")));
  const seen = await failures(t, server.url, { headers: () => ({}) }, 3);
  assert.deepEqual(seen.map(({ status }) => status), [401, 200, 401, 200, 401]);
});

test("each attempt has a ticket of its own", async (t) => {
  const server = await serve(t, inTurn(refusing(401), streaming(": hello\n")));
  let number = 0;
  const seen = await failures(t, `${server.url}?topic=a`, { ticket: async () => `twt_${++number}` });
  assert.deepEqual(seen.map(({ final }) => final), [false]);
  assert.deepEqual(server.requests.map(({ url }) => url), ["/?topic=a&ticket=twt_1", "/?topic=a&ticket=twt_2"]);
});

test("the URL of the stream has no ticket", async (t) => {
  const server = await serve(t, streaming(": hello\n"));
  const { stream } = await first(t, server.url, { ticket: () => "twt_1" });
  assert.equal(stream.url, server.url);
});
