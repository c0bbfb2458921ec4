"""The modules of the inspector's page fit each other, the browser, and the client's types."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.nodejs import JS, TYPESCRIPT, run_npm

OPTIONS = [
    *("--noEmit", "--allowJs", "--checkJs", "--strict", "--noImplicitAny", "false"),
    *("--target", "es2022", "--lib", "dom,dom.iterable,es2023"),
    *("--module", "esnext", "--moduleResolution", "bundler"),
]


def test_the_modules_of_the_page_compile(tmp_path: Path) -> None:
    shutil.copytree(JS.parent / "src/tidewire/web/inspect", tmp_path / "inspect")
    # In the place of the client's module, its types.
    for types in (JS / "types").iterdir():
        shutil.copy(types, tmp_path)
    run_npm("exec", "--yes", f"--package={TYPESCRIPT}", "--", "tsc", *OPTIONS, "inspect/app.js", cwd=tmp_path)
