import assert from "node:assert/strict";
import { test } from "node:test";

import { concerns, isBefore, matches } from "../src/topics.js";

test("patterns match as in the hub", () => {
  for (const [term, topic, expected] of [
    ["a", "a", true],
    ["a", "a/b", false],
    ["a/*", "a/b", true],
    ["a/*", "a/", true],
    ["a/*", "a", false],
    ["a/*", "a/b/c", false],
    ["*/b", "a/b", true],
    ["a/**", "a/b/c", true],
    ["a/**", "a/", true],
    ["a/**", "a", false],
    ["**", "a", true],
    ["**", "a/b", true],
    ["*", "a/b", false],
  ]) {
    assert.equal(matches(term, topic), expected, `${term} ${topic}`);
  }
});

test("a block is for the tabs with its topic, and for all tabs if it has none", () => {
  const block = (type, data, topic) => ({ type, data, topic, lastEventId: "" });
  assert.ok(concerns(["a"], block("message", "", "a")));
  assert.ok(!concerns(["a"], block("message", "", "b")));
  assert.ok(concerns(["a"], block("message", "")));
  assert.ok(concerns([], block("message", "", "b")));
  assert.ok(!concerns(["a"], block("hub.end", '{"topic":"b"}')));
  assert.ok(concerns(["a", "b"], block("hub.end", '{"topic":"b"}')));
  assert.ok(!concerns(["a"], block("hub.gap", '{"topics":["b"]}')));
  assert.ok(concerns(["a"], block("hub.gap", '{"topics":["b","a"]}')));
  assert.ok(concerns(["a/*"], block("hub.gap", '{"topics":["a/*"]}')));
});

test("positions are compared within a life", () => {
  assert.ok(isBefore("q7Zp2K.9", "q7Zp2K.10"));
  assert.ok(isBefore("q7Zp2K.10.xy", "q7Zp2K.10.xy"));
  assert.ok(!isBefore("q7Zp2K.11", "q7Zp2K.10"));
  assert.ok(!isBefore("other1.9", "q7Zp2K.10"));
  assert.ok(!isBefore("5", "5"));
  assert.ok(!isBefore("q7Zp2K.1", ""));
});
