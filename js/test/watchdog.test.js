import assert from "node:assert/strict";
import { test } from "node:test";

import { watchdog } from "../src/watchdog.js";

/** Mock timers and Date; `barked` holds the times at which the watchdog barked. */
function watched(t, timeout) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const barked = [];
  const dog = watchdog(() => barked.push(Date.now() - 1_000_000), timeout);
  return { dog, barked, pass: (ms) => t.mock.timers.tick(ms) };
}

test("it barks after that long a silence, not before", (t) => {
  const { dog, barked, pass } = watched(t, 1000);
  dog.hear();
  pass(800);
  dog.hear();
  pass(900);
  assert.deepEqual(barked, []);
  pass(100);
  assert.deepEqual(barked, [1800]);
});

test("stopped, or without a timeout, it never barks", (t) => {
  const { dog, barked, pass } = watched(t, 1000);
  dog.hear();
  dog.stop();
  pass(5000);
  dog.timeout = 0;
  dog.hear();
  pass(5000);
  assert.deepEqual(barked, []);
});

test("after the machine slept, there is time to read what arrived in the meantime", (t) => {
  const { dog, barked, pass } = watched(t, 1000);
  dog.hear();
  t.mock.timers.setTime(1_060_000); // its timers slept too, and run now
  assert.deepEqual(barked, []);
  pass(500);
  dog.hear();
  pass(900);
  assert.deepEqual(barked, []);
  pass(600);
  assert.equal(barked.length, 1);
});

test("checked after a sleep, it waits one second more", (t) => {
  const { dog, barked, pass } = watched(t, 10_000);
  dog.hear();
  pass(5000);
  dog.check();
  pass(1000);
  assert.deepEqual(barked, []);
  t.mock.timers.setTime(1_060_000);
  dog.check();
  pass(1000);
  assert.equal(barked.length, 1);
});
