// The test vectors of the Python decoder, split at every position.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decoder } from "../src/tidewire.js";

const vectors = JSON.parse(readFileSync(new URL("../../tests/vectors/event_stream.json", import.meta.url), "utf8"));
const bytes = (text) => new TextEncoder().encode(text);

function splits(given) {
  const whole = Buffer.concat(given);
  const every = (size) =>
    Array.from({ length: Math.ceil(whole.length / size) }, (_, index) => whole.subarray(index * size, (index + 1) * size));
  const halves = Array.from({ length: whole.length + 1 }, (_, at) => [whole.subarray(0, at), whole.subarray(at)]);
  return [given, [whole], every(1), every(2), ...halves];
}

for (const vector of vectors) {
  test(vector.name, () => {
    const given = vector.chunks_b64.map((chunk) => Buffer.from(chunk, "base64"));
    for (const [index, chunks] of splits(given).entries()) {
      const one = decoder(vector.initial_last_event_id ?? "");
      const events = [];
      const counts = chunks.map((chunk) => {
        for (const { type, data, lastEventId: id } of one.feed(chunk)) events.push({ type, data, id });
        return events.length;
      });
      assert.deepEqual(events, vector.expect);
      assert.equal(one.lastEventId, vector.expect_last_event_id);
      if (!vector.retry_free) assert.equal(one.retry ?? null, vector.expect_retry);
      if (index === 0 && vector.expect_counts) assert.deepEqual(counts, vector.expect_counts);
    }
  });
}

test("both spellings of what is no event: with and without a blank line after it", () => {
  for (const blank of ["", "\n"]) {
    const one = decoder();
    const stream = `retry: 2000\n${blank}: tidewire\n${blank}:\n${blank}id: 1\ndata: x\n\n:\n${blank}retry: 5000\n${blank}`;
    assert.deepEqual(one.feed(bytes(stream)).map((block) => block.data), ["x"]);
    assert.equal(one.retry, 5000);
  }
});

test("topic: is Tidewire's own field", () => {
  const [first, second] = decoder().feed(bytes("topic: orders/7\ndata: 1\n\ndata: 2\n\n"));
  assert.equal(first.topic, "orders/7");
  assert.equal(second.topic, undefined);
});

test("a line in many pieces takes linear time", () => {
  const one = decoder();
  const piece = bytes("a".repeat(64));
  one.feed(bytes("data: "));
  for (let fed = 0; fed < 10_000_000; fed += 64) one.feed(piece);
  assert.equal(one.feed(bytes("\n\n"))[0].data.length, 10_000_000);
});

test("more than 16 MiB are refused, and reading continues after a reset", () => {
  for (const field of ["data: ", ": "]) {
    const one = decoder();
    const block = new Uint8Array(1024 * 1024).fill(97);
    one.feed(bytes(field));
    assert.throws(() => {
      for (let fed = 0; fed < 20; fed += 1) one.feed(block);
    }, RangeError);
    one.reset();
    assert.equal(one.feed(bytes("data: on\n\n"))[0].data, "on");
  }
});
