"""The browser client's own tests, in Node: js/test, with the vectors cut at every position among them."""

from __future__ import annotations

import re

from support.nodejs import JS, run_node

TESTS = sorted(JS.glob("test/*.test.js"))


def test_js_unit() -> None:
    said = run_node("--test", *TESTS)
    assert re.search(r"^# fail 0$", said, re.MULTILINE), said
    passed = re.search(r"^# pass (\d+)$", said, re.MULTILINE)
    assert passed
    assert int(passed[1]) > 160, said
