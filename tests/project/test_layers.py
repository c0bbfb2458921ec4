"""
Imports point down: a module imports only from rows above its own, and a pure module only pure ones.

LAYERS is the table of docs/explanation/architecture.md, one row per line; `name.*` is a folder. The
modules of a folder, or the plain names of one row, may import each other as long as that forms no circle;
two folders of one row may not. An import counts wherever it is, in a function too, but not under
`if TYPE_CHECKING:`, which never runs. Package `__init__` files that only re-export, and `__main__`, are
exempt.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from support.documents import tables

PACKAGE = "tidewire"
SRC = Path(__file__).parents[2] / "src" / PACKAGE

LAYERS = """
errors data settings pattern_table topics topic_names position event_stream hub_events items metrics
log.*
engines.*
auth.*
delivery.*
http.*
runs.*
inspect.*
workers opening hub
server.*
client.core.*
client.aio.* client.sync.*
integrations.*
doctor.*
testing.*
pytest_plugin
demo.*
cli.*
"""

PURE = """
errors data settings pattern_table topics topic_names position event_stream hub_events items
log.entries log.runs log.records log.overtaken log.window log.drafts log.json_text log.judging log.last_events
log.presence log.trimming
auth.grants auth.bearer auth.cookies auth.access auth.claims auth.revocations auth.tickets
delivery.framing delivery.timeline delivery.subscriber delivery.stream_states delivery.arrivals
delivery.joins delivery.round delivery.cohort
http.asgi http.requests http.origins http.answers http.admission
inspect.asking inspect.outcomes
client.core.reconnect client.core.session
doctor.seen doctor.blocks doctor.checks doctor.clients doctor.findings doctor.timestamps
"""

# What a pure module does not touch. It is given the present time, and bytes.
OUTSIDE = {"asyncio", "socket", "ssl", "threading", "os", "time"}


class Row(NamedTuple):
    rank: int
    group: str  # a folder, or the row itself for plain names


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
    for rank, line in enumerate(text.split("\n")):
        for name in line.split():
            rows[name] = Row(rank, name if name.endswith(".*") else line)
    return rows


ROWS = table(LAYERS)
PURE_MODULES = frozenset(PURE.split())


def row_of(name: str) -> Row | None:
    """Return the row of a module: that of its own name, else that of the innermost `folder.*` it is in."""
    if name in ROWS:
        return ROWS[name]
    parts = name.split(".")
    folders = (".".join([*parts[:n], "*"]) for n in range(len(parts), 0, -1))
    return next((ROWS[folder] for folder in folders if folder in ROWS), None)


def parse(sources: Mapping[str, str]) -> dict[str, Module]:
    modules = {}
    for path, source in sources.items():
        name = path.removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")
        modules[name] = Module(name, path, ast.parse(source, path))
    return modules


def exempt(module: Module) -> bool:
    """Whether it is `__main__`, or an `__init__` that only re-exports."""
    if module.name.split(".")[-1] == "__main__":
        return True
    return module.is_package and all(map(re_exports, module.tree.body))


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
            complaint = judge(module.name, row, inside, other)
            if inside and other in modules and exempt(modules[other]):
                found.append(
                    f"{module.path} imports {other or PACKAGE}, which only re-exports: name the module itself"
                )
            elif complaint:
                found.append(f"{module.path} {complaint}")
            elif inside and row_of(other) == row and other != module.name:
                neighbours.setdefault(module.name, set()).add(other)
    return [*found, *circles(neighbours)]


def judge(name: str, row: Row, inside: bool, other: str) -> str | None:
    """Return what is wrong with an import of the module `name`, which is in `row`."""
    pure = name in PURE_MODULES
    if not inside:
        return f"is pure and imports {other}" if pure and other in OUTSIDE else None
    theirs = row_of(other)
    if theirs is None:
        return f"imports {other or PACKAGE}, which is no module of LAYERS: name the module itself"
    if theirs.rank >= row.rank and theirs != row:
        return f"imports {other}, which is not above it"
    if pure and other not in PURE_MODULES:
        return f"is pure and imports {other}, which is not"
    return None


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' -> '.join(error.args[1])}"]
    return []


def package() -> dict[str, str]:
    """Return the source of every file of the package, by its path."""
    return {path.relative_to(SRC).as_posix(): path.read_text("utf-8") for path in SRC.rglob("*.py")}


def test_imports_point_down() -> None:
    found = violations(package())
    assert not found, "\n".join(found)


# -- the table of the page

PAGE = "docs/explanation/architecture.md"
WORDS = LAYERS.split("\n")[1]


class Part(NamedTuple):
    """One row of the page's table, in the spelling of LAYERS."""

    names: list[str]
    imports: set[str]
    pure: set[str]


def parts() -> list[Part]:
    (rows,) = tables(PAGE, "part", "owns", "imports", "pure modules")
    return [read_part(*row) for row in rows]


def read_part(part: str, owns: str, imports: str, pure: str) -> Part:
    names = spans(part)
    folder = names[0].removesuffix("*") if names[0].endswith(".*") else ""
    modules = {f"{folder}{name}" for name in spans(pure)}
    if pure.startswith("all but "):
        modules = {*names} - modules
    groups = {ROWS[name].group for name in spans(imports)}
    return Part(names, groups | {WORDS} if "the words" in imports else groups, modules)


def spans(cell: str) -> list[str]:
    """Return the names in a cell: `log/` is the folder `log.*`."""
    names = re.findall(r"`([a-z_/]+)`", cell)
    return [name.replace("/", ".") + "*" if name.endswith("/") else name for name in names]


def imported_groups() -> dict[str, set[str]]:
    """Return which other rows and folders the modules of each really import."""
    modules = parse(package())
    found: dict[str, set[str]] = {row.group: set() for row in ROWS.values()}
    for module in modules.values():
        row = row_of(module.name)
        if row is not None and not exempt(module):
            rows = [row_of(other) for inside, other in imports(module, modules) if inside]
            found[row.group] |= {other.group for other in rows if other is not None} - {row.group}
    return found


def test_the_page_has_the_layers() -> None:
    assert [part.names for part in parts()] == [line.split() for line in LAYERS.strip().split("\n")]


def test_the_page_has_the_pure_modules() -> None:
    assert set().union(*(part.pure for part in parts())) == PURE_MODULES


def test_the_page_says_who_imports_whom() -> None:
    found = imported_groups()
    for part in parts():
        assert part.imports == set().union(*(found[ROWS[name].group] for name in part.names)), part.names


PLANTED = {
    "upward": ("topics.py", "from .hub import Hub", "imports hub, which is not above it"),
    "upward, absolute": ("topics.py", "from tidewire.hub import Hub", "imports hub, which is not above it"),
    "upward, import": ("topics.py", "import tidewire.hub as h", "imports hub, which is not above it"),
    "upward, module": ("http/hub_stream.py", "from .. import hub", "imports hub, which is not above it"),
    "upward, in a package": (
        "http/hub_stream.py",
        "from ..hub import f",
        "imports hub, which is not above it",
    ),
    "upward, in a function": (
        "delivery/node.py",
        "def f():\n    from tidewire.http import app",
        "imports http.app, which is not above it",
    ),
    "upward, where types are not checked": (
        "delivery/node.py",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from .. import hub",
        "imports hub, which is not above it",
    ),
    "a neighbouring folder": (
        "client/sync/stream.py",
        "from ..aio.stream import Stream",
        "imports client.aio.stream, which is not above it",
    ),
    "the package itself": ("hub.py", "from . import Hub", "imports tidewire, which only re-exports"),
    "a package that re-exports": (
        "hub.py",
        "from .http import f",
        "imports http, which only re-exports",
    ),
    "pure, with a clock": ("log/window.py", "import time", "is pure and imports time"),
    "pure, with a loop": ("event_stream.py", "import asyncio", "is pure and imports asyncio"),
    "pure, with files": ("topics.py", "from os.path import join", "is pure and imports os"),
    "pure, with an impure one": (
        "http/requests.py",
        "from .. import metrics",
        "is pure and imports metrics, which is not",
    ),
    "unknown": ("helpers.py", "", "is in no row of LAYERS"),
    "unknown package": ("strange/__init__.py", "def f(): ...", "is in no row of LAYERS"),
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
        "engines/memory.py": "from ..errors import TidewireError",
        "client/aio/stream.py": "",
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
