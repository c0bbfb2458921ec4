"""The files built from js/src are up to date, and the npm package is what bundlers and TypeScript expect."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from support.nodejs import JS, run_npm

PUBLINT = "publint@0.3.25"
ATTW = "@arethetypeswrong/cli@0.18.5"


def test_built_files_are_up_to_date(tmp_path: Path) -> None:
    run_npm("run", "build", "--", str(tmp_path))
    built = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in (JS / "types").iterdir()}
    kept["tidewire.js"] = (JS.parent / "src/tidewire/web/tidewire.js").read_text()
    assert built == kept, "build again: npm run build, in js"


def test_the_files_of_the_package() -> None:
    (package,) = json.loads(run_npm("pack", "--dry-run", "--json"))
    held = {file["path"] for file in package["files"]}
    sources = {f"src/{path.name}" for path in (JS / "src").iterdir()}
    types = {f"types/{path.stem}.d.ts" for path in (JS / "src").iterdir()}
    assert held == sources | types | {"package.json", "README.md", "LICENSE"}
    assert (JS / "LICENSE").read_bytes() == (JS.parent / "LICENSE").read_bytes()


def packed(folder: Path) -> Path:
    """Return the package, made by npm pack."""
    run_npm("pack", "--pack-destination", str(folder))
    (found,) = folder.glob("*.tgz")
    return found


def test_publint(tmp_path: Path) -> None:
    with tarfile.open(packed(tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    command = ("publint", "--strict", "--pack", "false")
    run_npm("exec", "--yes", f"--package={PUBLINT}", "--", *command, cwd=tmp_path / "package")


def test_are_the_types_wrong(tmp_path: Path) -> None:
    # It reads the package itself. The profile skips programs that cannot load ES modules.
    command = ("attw", str(packed(tmp_path)), "--profile", "esm-only")
    run_npm("exec", "--yes", f"--package={ATTW}", "--", *command)
