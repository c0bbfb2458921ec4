"""
What `pip install .` gives: one wheel with everything inside, that needs what it declares and no more.

The wheel is built from the source archive, as an index would get it, and installed into a virtual
environment of its own. So that this is quick and needs no network, its dependencies are not downloaded: the
ones that it declares, theirs, and nothing else of the environment that runs the tests are linked in.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution, packages_distributions
from pathlib import Path
from zipfile import ZipFile

import httpx2
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tidewire
from support.processes import Process

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

# Imported where the user's program has it, and not declared.
OPTIONAL = {
    "opentelemetry": "a publish is a span where the extra `otel` is installed",
    "pytest": "it loads the fixtures",
    "flask": "its integration is for programs that have it",
    "litestar": "its integration is for programs that have it",
    "quart": "its integration is for programs that have it",
    "aiohttp": "its integration is for programs that have it",
    "starlette": "responses are Starlette's too where Starlette is installed",
    "pydantic": "FastAPI has it, and `events_of` is for programs of FastAPI",
}

# Modules that need what is not among the dependencies, and say so.
NEED_MORE = (
    # Their drivers are extras. Without them, `make_engine` says what to install.
    "tidewire.engines.redis",
    "tidewire.engines.postgres",
    "tidewire.integrations.aiohttp",
    "tidewire.integrations.django",  # only a Django project imports it
    "tidewire.integrations.flask",
    "tidewire.integrations.quart",
    "tidewire.integrations.litestar",
)

# Imported by those alone, and not declared: who needs the module has the package.
FRAMEWORKS = {"django", "asgiref"}

# Declared and imported by others on our behalf.
INDIRECT = {
    "opentelemetry-api": "the extra `otel`; its package is among the optional ones",
    "uvloop": "uvicorn runs on it where it is installed",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment that has the wheel, its declared dependencies, and no more."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, symlinks=True, with_pip=False)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel)
    (site,) = home.glob("lib/python*/site-packages")
    (metadata,) = site.glob("tidewire-*.dist-info")
    for dependency in dependencies(PathDistribution(metadata)):
        link(dependency, site)
    return home / "bin"


def run(*argv: object, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dependencies(package: Distribution, extras: frozenset[str] = frozenset()) -> Iterator[Distribution]:
    """Yield what a package declares for this machine, and what that declares (some may come twice)."""
    for line in package.requires or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            found = distribution(needed.name)
            yield found
            yield from dependencies(found, frozenset(needed.extras))


def link(package: Distribution, site: Path) -> None:
    """Make an installed package importable from `site` too."""
    tops = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
    for top in tops:
        target = Path(str(package.locate_file(top)))
        if not (site / top).exists():
            (site / top).symlink_to(target)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {path.relative_to(SRC).as_posix() for path in SRC.rglob("*") if path.is_file()}
    assert inside == {path for path in source if "__pycache__" not in path}


@pytest.mark.parametrize("name", ["py.typed", "web/tidewire.js"])
def test_what_is_no_module_is_inside(wheel: Path, name: str) -> None:
    with ZipFile(wheel) as archive:
        assert f"tidewire/{name}" in archive.namelist()


def test_the_license_is_inside(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def test_every_module_imports_with_the_declared_dependencies_alone(installed: Path, tmp_path: Path) -> None:
    program = """
import importlib, json, pkgutil, tidewire
failed = {}
for module in pkgutil.walk_packages(tidewire.__path__, "tidewire."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = repr(error)
print(json.dumps([tidewire.__file__, failed]))
"""
    file, failed = json.loads(run(installed / "python", "-c", program, cwd=tmp_path))
    assert {name: why for name, why in failed.items() if not name.startswith(NEED_MORE)} == {}
    assert Path(file).is_relative_to(installed.parent)  # this wheel, not the source beside it


def test_the_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    assert tidewire.__version__ in run(installed / "tidewire", "--version", cwd=tmp_path)


def test_the_command_says_what_it_can(installed: Path, tmp_path: Path) -> None:
    words = run(installed / "tidewire", "--help", cwd=tmp_path).split()
    assert {"serve", "demo", "publish", "listen"} <= set(words)


def test_the_installed_demo_serves_its_pages(installed: Path, tmp_path: Path) -> None:
    with Process([installed / "tidewire", "demo", "--port", "0"], cwd=tmp_path) as demo:
        origin = demo.wait_line(r"http://[^/\s]+").group()
        for path, kind in {"/demo": "text/html", "/tidewire.js": "text/javascript"}.items():
            answer = httpx2.get(origin + path, follow_redirects=True)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kind)
        assert demo.stop() == 0


def test_every_declared_dependency_has_a_lower_bound_and_no_upper_one() -> None:
    needed = [Requirement(line) for line in distribution("tidewire").requires or ()]
    bounds = {one.name: [bound.operator for bound in one.specifier] for one in needed}
    assert bounds == {name: [">="] for name in bounds}


def imports() -> dict[str, bool]:
    """Map the packages of others that `src` imports to whether each import of it may fail."""
    found: dict[str, bool] = {}
    for path in SRC.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        guarded = {
            inner for node in ast.walk(tree) for statement in may_fail(node) for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            for name in imported(node) - sys.stdlib_module_names - {"tidewire"}:
                found[name] = found.get(name, True) and node in guarded
    return found


def may_fail(node: ast.AST) -> list[ast.stmt]:
    """Return the statements of a `try` that has an `except ImportError`."""
    handlers = node.handlers if isinstance(node, ast.Try) else []
    caught = [ast.unparse(handler.type) for handler in handlers if handler.type]
    return node.body if isinstance(node, ast.Try) and "ImportError" in caught else []


def imported(node: ast.AST) -> set[str]:
    """Return the packages that one statement imports from."""
    match node:
        case ast.Import(names):
            return {alias.name.split(".")[0] for alias in names}
        case ast.ImportFrom(str(module), _, 0):
            return {module.split(".")[0]}
    return set()


def declared() -> set[str]:
    """Return the names of all dependencies in pyproject.toml, those of extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    return {canonicalize_name(Requirement(line).name) for group in groups for line in group}


def test_what_is_declared_is_what_is_imported() -> None:
    found = imports()
    assert {name for name, optional in found.items() if optional} == OPTIONAL.keys()
    homes = packages_distributions()
    others = found.keys() - OPTIONAL.keys() - FRAMEWORKS
    needed = {home for name in others for home in homes.get(name, [name])}
    assert {*map(canonicalize_name, needed), *INDIRECT} == declared()
