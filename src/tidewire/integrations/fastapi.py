"""
A hub in a FastAPI program: `install(app, hub)` opens it with the program and answers its errors.
"""

from __future__ import annotations

from typing import Any

from .starlette import install

__all__ = ["events_of", "install"]


def events_of(data: Any) -> dict[int | str, dict[str, Any]]:
    """
    Return the `responses=` of a route whose stream has events with this type of data.

    `data` is a type as in an annotation: a pydantic model, a dataclass, `Status | Note`. In OpenAPI it
    becomes the `itemSchema` of `text/event-stream`. Raises `ValueError` if the type contains itself.
    """
    try:
        from pydantic import TypeAdapter
    except ImportError:
        raise ImportError("events_of needs pydantic, which FastAPI installs") from None

    schema = TypeAdapter(data).json_schema(mode="serialization")
    content = {"type": "string", "contentMediaType": "application/json"}
    event = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {**content, "contentSchema": _inlined(schema, schema.pop("$defs", {}))},
            "event": {"type": "string"},
            "id": {"type": "string"},
            "retry": {"type": "integer", "minimum": 0},
        },
    }
    return {200: {"content": {"text/event-stream": {"itemSchema": event}}}}


def _inlined(schema: Any, definitions: dict[str, Any], above: tuple[str, ...] = ()) -> Any:
    """Return the schema with its definitions in place of references, which point into its own document."""
    if isinstance(schema, list):
        return [_inlined(item, definitions, above) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return {key: _inlined(value, definitions, above) for key, value in schema.items()}
    name = reference.removeprefix("#/$defs/")
    if name in above:
        raise ValueError(f"{name} contains itself, which an itemSchema cannot describe")
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return _inlined(definitions[name], definitions, (*above, name)) | beside
