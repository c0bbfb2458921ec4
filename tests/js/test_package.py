"""The files built from js/src are up to date, and the npm package is what bundlers and TypeScript expect."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from support.nodejs import JS, TYPESCRIPT, run_npm

JEST = ("jest@30.5.2", "jest-environment-jsdom@30.5.2")
PUBLINT = "publint@0.3.25"
ATTW = "@arethetypeswrong/cli@0.18.5"


def test_built_files_are_up_to_date(tmp_path: Path) -> None:
    run_npm("run", "build", "--", str(tmp_path))
    served = JS.parent / "src/tidewire/web/tidewire.js"
    built = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    kept = {
        path.relative_to(JS): path.read_text()
        for folder in ("types", "bundle")
        for path in (JS / folder).iterdir()
    }
    kept[Path(served.name)] = served.read_text()
    assert built == kept, "build again: npm run build, in js"


def test_the_files_of_the_package() -> None:
    (package,) = json.loads(run_npm("pack", "--dry-run", "--json"))
    held = {file["path"] for file in package["files"]}
    sources = {f"src/{path.name}" for path in (JS / "src").iterdir()}
    types = {f"types/{path.stem}.d.ts" for path in (JS / "src").iterdir()}
    bundle = {f"bundle/tidewire.{end}" for end in ("js", "cjs", "d.cts")}
    assert held == sources | types | bundle | {"package.json", "README.md", "LICENSE"}
    assert (JS / "LICENSE").read_bytes() == (JS.parent / "LICENSE").read_bytes()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, made by npm pack."""
    folder = tmp_path_factory.mktemp("packed")
    run_npm("pack", "--pack-destination", str(folder))
    (found,) = folder.glob("*.tgz")
    return found


@pytest.fixture
def program(tmp_path: Path, packed: Path) -> Path:
    """The folder of a program in which the package is installed."""
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "package").rename(tmp_path / "node_modules/tidewire")
    (tmp_path / "package.json").write_text("{}")
    return tmp_path


def test_publint(program: Path) -> None:
    command = ("publint", "--strict", "--pack", "false")
    run_npm("exec", "--yes", f"--package={PUBLINT}", "--", *command, cwd=program / "node_modules/tidewire")


def test_programs_compile(program: Path) -> None:
    names = ("program.mts", "program.cts")
    for name in names:
        shutil.copy(JS / "test/package/types.mts", program / name)
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom"]
    run_npm("exec", "--yes", f"--package={TYPESCRIPT}", "--", "tsc", *options, *names, cwd=program)


def test_jest_in_jsdom_requires_it(program: Path) -> None:
    shutil.copy(JS / "test/package/stream.jest.js", program / "stream.test.js")
    packages = [f"--package={package}" for package in JEST]
    run_npm("exec", "--yes", *packages, "--", "jest", "--env=jsdom", "--rootDir=.", cwd=program)


def test_are_the_types_wrong(packed: Path) -> None:
    # It reads the package itself. The profile skips Node 10, which knows no `exports`.
    # The hooks are for bundlers: they are ES modules only.
    for options in (
        ("--profile", "node16", "--exclude-entrypoints", "react", "vue"),
        ("--profile", "esm-only", "--entrypoints", "react", "vue"),
    ):
        run_npm("exec", "--yes", f"--package={ATTW}", "--", "attw", str(packed), *options)
