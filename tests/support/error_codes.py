"""Which errors the modules of the package can raise: status and code, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tidewire import errors

SRC = Path(errors.__file__).parent

KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.TidewireError)
}

# How the server's protocol refuses malformed HTTP: status, code, detail.
REFUSALS = ("RefusedRequest", "self._fail")


def raised(*, without: tuple[str, ...]) -> set[tuple[int, str]]:
    """Return status and code of every error in the package, except in modules whose path starts so."""
    return {
        error
        for path in SRC.rglob("*.py")
        if not path.relative_to(SRC).as_posix().startswith(without)
        for error in made_in(ast.parse(path.read_text("utf-8")), path.parent.name == "server")
    }


def made_in(tree: ast.Module, in_server: bool) -> Iterator[tuple[int, str]]:
    for call in calls(tree):
        name = ast.unparse(call.func)
        if name in KINDS:
            for code in codes_of(call, tree):
                yield KINDS[name].status, code or KINDS[name].code
        elif name in REFUSALS and in_server:
            match call.args:
                case [ast.Constant(int(status)), ast.Constant(str(code)), *_]:
                    yield status, code


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def codes_of(call: ast.Call, tree: ast.Module) -> list[str]:
    """Return the values that `code=` may have; an empty one stands for the code of the class."""
    match [keyword.value for keyword in call.keywords if keyword.arg == "code"]:
        case []:
            return [""]
        case [ast.Constant(str(code))]:
            return [code]
        case [ast.Name(name)]:
            return [code for value in assigned(name, tree) for code in words(value)]
        case [ast.JoinedStr() | ast.Attribute()]:
            # Built from parts, each of which is raised whole elsewhere too; or a code from the other side.
            return []
        case _:
            raise AssertionError(f"line {call.lineno}: a code that cannot be read")


def assigned(name: str, tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.Assign([ast.Name(target)], value) if target == name:
                yield value


def words(value: ast.expr) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value
