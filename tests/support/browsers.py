"""The browsers that the tests drive."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

CHROMIUM = Path(__file__).with_name("chromium.sh")

# How to start each browser that Debian ships; Playwright's own builds are not needed.
BROWSERS: dict[str, dict[str, Any]] = {
    "chromium": {
        "names": ("chromium", "chromium-browser", "google-chrome"),
        # As root, Chromium starts only without its sandbox. The other flags keep it off the network.
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    },
    # By WebDriver BiDi, which Debian's build supports.
    "firefox": {"names": ("firefox-esr", "firefox"), "channel": "moz-firefox"},
}


def browser_options(name: str) -> dict[str, Any] | None:
    """Return the arguments for Playwright's `launch`, or None if that browser is not installed."""
    options = dict(BROWSERS[name])
    path = next(filter(None, map(shutil.which, options.pop("names"))), None)
    if path is None:
        return None
    if name == "chromium":
        return {"executable_path": CHROMIUM, "env": {**os.environ, "CHROMIUM": path}, **options}
    return {"executable_path": path, **options}
