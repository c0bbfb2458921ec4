"""
Imports point down: a module imports only from rows above its own, and a pure module only pure ones.

LAYERS is the table of the design, one row per line. Nothing in a row imports its neighbours; `name.*` is a
package with all its modules in one row, which may import each other as long as that forms no circle.
An import counts wherever it stands, in a function too, but not under `if TYPE_CHECKING:`, which never runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "tidewire"
SRC = Path(__file__).parents[1] / "src" / PACKAGE

LAYERS = """
pure    errors
pure    event_stream
pure    position
pure    topics
pure    settings
pure    grants
pure    reconnect
pure    frames
pure    log.entries
pure    log.window
pure    log.drafts
pure    subscriber
pure    cohort
pure    http.requests
pure    http.admission
        metrics
        engines
        engines.memory engines.sqlite.* engines.redis engines.nats
        auth
        streams
        log.node_log watches
        rounds
        readers
        node
        http.wire
        http.body
        http.generator
        http.stream
        http.ingest http.plain
        http.app
        workers
        hub
        integrations.*
        server.wire
        server.takeover server.direct
        server.protocol
        server.run
        client.items client.requests client.store
        client.publishing client.session
        client.subscription
        client.connecting client.exchange client.aio_link client.sync_link
        client.aio_stream client.aio_publisher client.sync_stream client.sync_publisher
        client.aio client.sync
        client
        testing.*
        demo.*
        cli.*
"""

# What a pure module does not touch. It is given the present time, and bytes.
OUTSIDE = {"asyncio", "socket", "ssl", "threading", "os", "time"}


class Row(NamedTuple):
    rank: int
    pure: bool


class Module(NamedTuple):
    name: str  # without the package's own: "http.app"; "" is the package itself
    path: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @property
    def package(self) -> str:
        """What its relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def table(text: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for rank, line in enumerate(text.strip("\n").splitlines()):
        words = line.split()
        pure = words[0] == "pure"
        rows |= {name: Row(rank, pure) for name in words[pure:]}
    return rows


ROWS = table(LAYERS)


def row_of(name: str) -> Row | None:
    """Return the row of a module: that of its own name, else that of a `package.*` it is in."""
    if name in ROWS:
        return ROWS[name]
    parts = name.split(".")
    packages = (".".join([*parts[:n], "*"]) for n in range(len(parts), 0, -1))
    return next((ROWS[package] for package in packages if package in ROWS), None)


def parse(sources: Mapping[str, str]) -> dict[str, Module]:
    modules = {}
    for path, source in sources.items():
        name = path.removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")
        modules[name] = Module(name, path, ast.parse(source, path))
    return modules


def exempt(module: Module) -> bool:
    """Whether it is `__main__`, or an `__init__` of no row that only re-exports."""
    if module.name.split(".")[-1] == "__main__":
        return True
    return module.is_package and row_of(module.name) is None and all(map(re_exports, module.tree.body))


def re_exports(statement: ast.stmt) -> bool:
    """Whether it is a docstring, an import, a table of names, or the function behind lazy exports."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()):
            return True
        case ast.Assign(value=ast.Constant() | ast.List() | ast.Tuple() | ast.Dict()):
            return True
        case ast.FunctionDef(name=name):
            return name in ("__getattr__", "__dir__")
        case ast.If():
            return under_type_checking(statement)
    return False


def under_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Walk everything but what stands under `if TYPE_CHECKING:`."""
    yield node
    children = node.orelse if under_type_checking(node) else ast.iter_child_nodes(node)  # type: ignore[attr-defined]
    for child in children:
        yield from running(child)


def imports(module: Module, modules: Mapping[str, Module]) -> Iterator[tuple[bool, str]]:
    """Yield (whether inside our package, name of the module) for every import that may run."""
    for node in running(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, _, rest = alias.name.partition(".")
                yield (True, rest) if top == PACKAGE else (False, top)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, module)
            if base.split(".")[0] != PACKAGE:
                yield False, base.split(".")[0]
                continue
            base = base.partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                # The version is a fact, not a part: the package itself may be asked for it.
                if (base, alias.name) != ("", "__version__"):
                    yield True, inner if inner in modules else base


def absolute(node: ast.ImportFrom, module: Module) -> str:
    """Return the full name of what `from … import` names, its dots resolved."""
    if not node.level:
        return node.module or ""
    package = [PACKAGE, *filter(None, module.package.split("."))]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *filter(None, [node.module])])


def violations(sources: Mapping[str, str]) -> list[str]:
    """Return every breach of the rules in a package, given as {path: source}."""
    modules = parse(sources)
    found: list[str] = []
    neighbours: dict[str, set[str]] = {}
    for module in modules.values():
        if exempt(module):
            continue
        row = row_of(module.name)
        if row is None:
            found.append(f"{module.path} is in no row of LAYERS")
            continue
        for inside, other in imports(module, modules):
            if inside and row_of(other) == row and is_open(other) and other != module.name:
                neighbours.setdefault(module.name, set()).add(other)
            elif complaint := judge(row, inside, other):
                found.append(f"{module.path} {complaint}")
    return [*found, *circles(neighbours)]


def is_open(name: str) -> bool:
    """Whether the modules of its row may import each other."""
    return name not in ROWS


def judge(row: Row, inside: bool, other: str) -> str | None:
    if not inside:
        return f"is pure and imports {other}" if row.pure and other in OUTSIDE else None
    theirs = row_of(other)
    if theirs is None:
        return f"imports {other or PACKAGE}, which is no module of LAYERS: name the module itself"
    if theirs.rank >= row.rank:
        return f"imports {other}, which is not above it"
    if row.pure and not theirs.pure:
        return f"is pure and imports {other}, which is not"
    return None


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' -> '.join(error.args[1])}"]
    return []


def test_imports_point_down() -> None:
    paths = {path.relative_to(SRC).as_posix(): path for path in SRC.rglob("*.py")}
    found = violations({name: path.read_text("utf-8") for name, path in paths.items()})
    assert not found, "\n".join(found)


PLANTED = {
    "upward": ("topics.py", "from .hub import Hub", "imports hub, which is not above it"),
    "upward, absolute": ("topics.py", "from tidewire.hub import Hub", "imports hub, which is not above it"),
    "upward, import": ("topics.py", "import tidewire.hub as h", "imports hub, which is not above it"),
    "upward, module": ("http/stream.py", "from .. import hub", "imports hub, which is not above it"),
    "upward, in a package": (
        "http/stream.py",
        "from .app import f",
        "imports http.app, which is not above it",
    ),
    "upward, in a function": (
        "node.py",
        "def f():\n    from tidewire.http import app",
        "imports http.app, which is not above it",
    ),
    "upward, where types are not checked": (
        "node.py",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from . import hub",
        "imports hub, which is not above it",
    ),
    "neighbour": (
        "engines/sqlite.py",
        "from .memory import f",
        "imports engines.memory, which is not above it",
    ),
    "the package itself": ("hub.py", "from . import Hub", "imports tidewire, which is no module of LAYERS"),
    "a package that re-exports": (
        "hub.py",
        "from .http import f",
        "imports http, which is no module of LAYERS",
    ),
    "pure, with a clock": ("log/window.py", "import time", "is pure and imports time"),
    "pure, with a loop": ("event_stream.py", "import asyncio", "is pure and imports asyncio"),
    "pure, with files": ("topics.py", "from os.path import join", "is pure and imports os"),
    "pure, with an impure one": (
        "http/requests.py",
        "from .. import metrics",
        "imports metrics, which is not above it",
    ),
    "unknown": ("helpers.py", "", "is in no row of LAYERS"),
    "unknown package": ("http/__init__.py", "def f(): ...", "is in no row of LAYERS"),
    "circle": ("cli/serve.py", "from . import main", "a circle of imports: "),
}


def planted(path: str, source: str) -> dict[str, str]:
    """A package without a fault but the one that is planted."""
    sound = {
        "__init__.py": "from .hub import Hub\n__version__ = '1'",
        "errors.py": "",
        "hub.py": "",
        "metrics.py": "",
        "http/__init__.py": "from .app import f",
        "http/app.py": "",
        "engines/__init__.py": "from ..errors import TidewireError",
        "engines/memory.py": "from . import Engine",
        "cli/__init__.py": "from .main import main",
        "cli/__main__.py": "from . import main",
        "cli/main.py": "from . import serve",
        "cli/serve.py": "import tidewire.hub",
    }
    return {**sound, path: source}


@pytest.mark.parametrize(("path", "source", "complaint"), PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_found(path: str, source: str, complaint: str) -> None:
    (found,) = violations(planted(path, source))
    assert complaint in found


SOUND = {
    "downward": ("hub.py", "import asyncio\nfrom . import errors\nfrom .http.app import f"),
    "pure on pure": (
        "topics.py",
        "import re\nfrom collections.abc import Callable\nfrom .errors import InvalidInput",
    ),
    "for types only": (
        "topics.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .hub import Hub",
    ),
    "the version": ("cli/serve.py", "from tidewire import __version__"),
    "__main__": ("__main__.py", "from .cli import main"),
    "lazy exports": ("__init__.py", "HOMES = {'Hub': 'hub'}\ndef __getattr__(name): ..."),
}


@pytest.mark.parametrize(("path", "source"), SOUND.values(), ids=SOUND)
def test_what_is_allowed_is_not_found(path: str, source: str) -> None:
    assert violations(planted(path, source)) == []


def test_a_pure_module_of_a_higher_row_may_not_import_an_impure_one() -> None:
    """No impure row stands above a pure one today, so the rule is tried on its own."""
    assert judge(Row(99, pure=True), True, "metrics") == "is pure and imports metrics, which is not"
