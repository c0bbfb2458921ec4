"""The tests of the browser client in js/test, run by Node."""

from __future__ import annotations

import re

from support.nodejs import JS, run_node

TESTS = sorted(JS.glob("test/*.test.js"))


def test_js_unit() -> None:
    output = run_node("--test", *TESTS)
    assert re.search(r"^# fail 0$", output, re.MULTILINE), output
    passed = re.search(r"^# pass (\d+)$", output, re.MULTILINE)
    assert passed
    assert int(passed[1]) > 160, output
