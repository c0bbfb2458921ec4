import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff } from "../src/backoff.js";

const many = (...args) => Array.from({ length: 200 }, () => backoff(...args).delay);
const end = { reason: "end" };
const network = { reason: "network" };

test("after a clean end it waits retry:, without backoff", () => {
  for (const delay of many(end, 1000, true, 0, 2000)) assert.ok(delay >= 2000 && delay <= 2200);
  assert.equal(backoff(end, 1000, true, 3, 2000).failures, 3);
});

test("an empty stream may end once without backoff", () => {
  assert.equal(backoff(end, 10, false, 0, 1000).failures, 1);
  assert.ok(Math.max(...many(end, 10, false, 4, 1000)) > 2000);
});

test("after failures it waits longer each time, up to a cap, with full jitter", () => {
  for (let failures = 0; failures < 60; failures += 1) {
    const delays = many(network, 0, false, failures, 1000);
    const most = Math.min(31_000, 1000 * 2 ** (failures + 1));
    assert.ok(Math.min(...delays) >= 1000);
    assert.ok(Math.max(...delays) <= most);
    assert.ok(Math.max(...delays) - Math.min(...delays) > (most - 1000) / 2);
  }
});

test("only a stable connection resets the count of failures", () => {
  assert.equal(backoff(network, 29_000, true, 5, 1000).failures, 6);
  assert.equal(backoff(network, 31_000, true, 5, 1000).failures, 1);
});

test("retry: is limited to half a second and five minutes; without it, three seconds", () => {
  for (const [retry, base] of [[0, 500], [9e15, 300_000], [undefined, 3000]]) {
    for (const delay of many(end, 0, true, 0, retry)) assert.ok(delay >= base && delay <= 1.1 * base);
  }
});

test("Retry-After is obeyed, in seconds or as a date, up to an hour", () => {
  const after = (value) => ({ reason: "status", headers: { "retry-after": value } });
  for (const delay of many(after("120"), 0, false, 0, 1000)) assert.ok(delay >= 120_000 && delay <= 121_000);
  const date = new Date(Date.now() + 90_000).toUTCString();
  for (const delay of many(after(date), 0, false, 0, 1000)) assert.ok(delay > 85_000 && delay <= 91_000);
  for (const delay of many(after("999999"), 0, false, 0, 1000)) assert.ok(delay <= 3_601_000);
  for (const delay of many(after("soon"), 0, false, 0, 1000)) assert.ok(delay <= 2000);
});
