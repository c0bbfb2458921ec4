import assert from "node:assert/strict";
import { test } from "node:test";

import { watchdog } from "../src/watchdog.js";

/** Timers and Date under control; returns the moments at which it barked. */
function watched(t, patience) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const barked = [];
  const dog = watchdog(() => barked.push(Date.now() - 1_000_000), patience);
  return { dog, barked, pass: (ms) => t.mock.timers.tick(ms) };
}

test("it barks after so long a silence, and not before", (t) => {
  const { dog, barked, pass } = watched(t, 1000);
  dog.hear();
  pass(800);
  dog.hear();
  pass(900);
  assert.deepEqual(barked, []);
  pass(100);
  assert.deepEqual(barked, [1800]);
});

test("stopped, or without patience, it never does", (t) => {
  const { dog, barked, pass } = watched(t, 1000);
  dog.hear();
  dog.stop();
  pass(5000);
  dog.patience = 0;
  dog.hear();
  pass(5000);
  assert.deepEqual(barked, []);
});

test("a machine that slept gets a moment to read what came meanwhile", (t) => {
  const { dog, barked, pass } = watched(t, 1000);
  dog.hear();
  t.mock.timers.setTime(1_060_000); // its timers slept with it, and run now
  assert.deepEqual(barked, []);
  pass(500);
  dog.hear();
  pass(900);
  assert.deepEqual(barked, []);
  pass(600);
  assert.equal(barked.length, 1);
});

test("looked at after a sleep, it needs a second and no more", (t) => {
  const { dog, barked, pass } = watched(t, 10_000);
  dog.hear();
  pass(5000);
  dog.look();
  pass(1000);
  assert.deepEqual(barked, []);
  t.mock.timers.setTime(1_060_000);
  dog.look();
  pass(1000);
  assert.equal(barked.length, 1);
});
