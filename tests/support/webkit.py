"""WebKitGTK, as Debian ships it: its MiniBrowser on a display of its own, driven by WebDriver."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.processes import Process

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver


def mini_browser() -> Path | None:
    return next(Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser"), None)


@contextmanager
def webkit() -> Iterator[WebDriver]:
    """Yield a browser with one empty window; skip the calling test if it is not installed."""
    driver, browser = shutil.which("WebKitWebDriver"), mini_browser()
    if driver is None or browser is None or shutil.which("Xvfb") is None:
        pytest.skip("WebKitGTK or Xvfb is not installed: `make test` as root installs them")
    from selenium import webdriver

    options = webdriver.WebKitGTKOptions()
    options.binary_location = str(browser)
    options.add_argument("--automation")
    # It takes the first free display, and prints its number.
    with Process(["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]) as display:
        number = display.wait_line(r"^\d+$").group()
        env = {**os.environ, "DISPLAY": f":{number}", "NO_AT_BRIDGE": "1"}
        service = webdriver.WebKitGTKService(driver, env=env)
        with warnings.catch_warnings():
            # Its class for WebKitGTK uses what Selenium itself has deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            opened = webdriver.WebKitGTK(options=options, service=service)
        try:
            yield opened
        finally:
            opened.quit()
