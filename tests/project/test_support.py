"""
What other tests rest on: the helpers of `support` fail when they should, in CI a skip is red, programs can be
interrupted however the run was started, and a run ends what its tests share.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.processes import Process, group_members
from support.waiting import PATIENCE, wait_until, wait_until_async

# A run of pytest with a worker: two interpreters that import all that the tests need.
RUN = 2.5 * PATIENCE


def python(program: str) -> Process:
    return Process([sys.executable, "-c", program])


def test_a_process_is_read_and_stopped() -> None:
    with python("import time; print('ready on 7'); time.sleep(60)") as process:
        assert process.wait_line(r"ready on (\d)")[1] == "7"
        assert process.stop() == -15
    assert process.output == "ready on 7\n"


def test_a_process_that_exits_too_early_fails_at_once_with_its_output() -> None:
    with python("print('no such engine'); raise SystemExit(3)") as process:
        with pytest.raises(AssertionError, match=r"exited with 3(.|\n)*no such engine"):
            process.wait_line("ready")


def test_what_a_process_leaves_behind_is_found_and_ended() -> None:
    with pytest.raises(AssertionError, match="left behind"):
        with python("import subprocess; subprocess.Popen(['sleep', '60']); print('ready')") as process:
            process.wait_line("ready")
    wait_until(lambda: not group_members(process.pid))


def test_a_failing_block_tells_what_the_process_said() -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        with python("print('its own words')") as process:
            process.wait()
            raise ValueError("wrong")
    assert "its own words" in caught.value.__notes__[0]


def test_waiting_returns_what_came_true() -> None:
    values = iter([0, None, "", "there"])
    assert wait_until(lambda: next(values)) == "there"


def test_waiting_ends_at_its_deadline() -> None:
    with pytest.raises(AssertionError, match="still 0 after 0.05 s: line [0-9]+ of test_support.py"):
        wait_until(lambda: 0, timeout=0.05)


async def test_a_coroutine_waits_too() -> None:
    async def there() -> str:
        return "there"

    assert await wait_until_async(there) == "there"
    assert await wait_until_async(lambda: 1) == 1
    with pytest.raises(AssertionError, match="still 0 after 0.05 s"):
        await wait_until_async(lambda: 0, timeout=0.05)


def pytest_in(folder: Path, *options: str, before: Sequence[str] = (), ci: str = "") -> Process:
    """Run the tests of a folder under the rules of this suite."""
    env = {"CI": ci, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", f"--rootdir={folder}", *options]
    # As in pyproject.toml: the packages of all other plugins would be rewritten.
    command += ["--disable-plugin-autoload", "-p", "xdist"]
    return Process([*before, *command], env=env, cwd=folder)


SKIPS = """
import pytest

def test_runs(): ...

def test_inside(): pytest.skip("no browser")

@pytest.mark.skipif(True, reason="no browser")
def test_marked(): ...

@pytest.mark.xfail
def test_known_to_fail(): assert False
"""


@pytest.mark.parametrize(
    ("ci", "code", "summary"),
    [
        ("", 0, "1 passed, 3 skipped, 1 xfailed"),
        ("true", 1, "1 failed, 1 passed, 1 xfailed, 2 errors"),
    ],
    ids=["by hand", "in CI"],
)
def test_a_skip_is_red_in_ci_and_only_there(tmp_path: Path, ci: str, code: int, summary: str) -> None:
    (tmp_path / "test_some.py").write_text(SKIPS)
    (tmp_path / "test_none.py").write_text(
        "import pytest\npytest.skip('no browser', allow_module_level=True)"
    )
    with pytest_in(tmp_path, "-n", "1", "-rfEs", ci=ci) as run:
        assert run.wait(RUN) == code
    assert summary in run.output
    assert run.output.count("no browser") >= 3
    assert ("in CI no test may be" in run.output) == bool(ci)


INTERRUPTS = """
import signal, subprocess, sys

PROGRAM = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"

def test_child():
    assert subprocess.check_output([sys.executable, "-c", PROGRAM]) == b"True\\n"
"""


def test_programs_can_be_interrupted_in_a_run_that_ignores_it(tmp_path: Path) -> None:
    """As a shell starts its background jobs."""
    (tmp_path / "test_child.py").write_text(INTERRUPTS)
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    with pytest_in(tmp_path, before=ignoring) as run:
        assert run.wait(RUN) == 0, run.output
    assert "1 passed" in run.output


SHARES = """
import atexit
from support.endings import AT_END

def note(word):
    with open("order", "a") as file:
        file.write(word + " ")

def test_shares():
    AT_END.callback(note, "shared")
    atexit.register(note, "exit")
"""


def test_what_tests_share_ends_before_the_process_exits(tmp_path: Path) -> None:
    (tmp_path / "test_shares.py").write_text(SHARES)
    with pytest_in(tmp_path, "-n", "1") as run:
        assert run.wait(RUN) == 0, run.output
    assert (tmp_path / "order").read_text() == "shared exit "
