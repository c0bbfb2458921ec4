"""
Reading what producers yield: text, parts of the client's protocol, and what SDKs of models yield.

Rule 1: a `str` is text, and a `dict` is a part of the client's protocol.
Rule 2: an event of a model's SDK is its text. What it has besides, such as a tool call, is left out, unless
        the client's protocol is the model's own.
Rule 3: an answer of a model that ends without saying so is not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from ...errors import InvalidInput
from ...event_stream import Decoder, Event

Fields = Mapping[str, Any]

CHAT_CHUNK = "chat.completion.chunk"
# Of OpenAI's Responses.
COMPLETE = {"response.completed", "response.incomplete"}
FAILED = {"response.failed", "error"}
# Of Anthropic's messages, and what its SDK adds to them.
MESSAGE_EVENTS = {
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "text",
    "thinking",
    "signature",
    "citation",
    "input_json",
    "ping",
}


def is_chat_chunk(fields: Fields) -> bool:
    return fields.get("object") == CHAT_CHUNK


def is_response_event(fields: Fields) -> bool:
    kind = fields.get("type")
    return isinstance(kind, str) and (
        kind.startswith("response.") or (kind == "error" and "sequence_number" in fields)
    )


def is_message_event(fields: Fields) -> bool:
    return fields.get("type") in MESSAGE_EVENTS


class Yielded:
    """
    Reads what the producer of one run yields.

    `native` says whether the fields of an object are a part of the client's protocol; without it, those that
    no model sends are. `first`: the type of the first part of an answer in that protocol. If the first item
    is that part as an event's text, as pydantic-ai's `encode_stream` yields it, every `str` is such text.
    """

    def __init__(self, native: Callable[[Fields], bool] | None = None, first: str = "") -> None:
        self._native = native
        self._first = first
        self._begun = False
        self._decoder: Decoder | None = None
        self._whole = True

    def read(self, item: Any) -> Iterator[str | Fields]:
        """Return the texts and parts in an item. Raises `InvalidInput` if it is neither."""
        if not self._begun:
            self._begun = True
            if isinstance(item, str) and self._is_encoded(item):
                self._decoder = Decoder()
        if isinstance(item, str):
            yield from [item] if self._decoder is None else self._decoded(self._decoder, item)
        elif isinstance(item, Mapping):
            yield item
        else:
            yield from self._object(item)

    def check_whole(self) -> None:
        """Raise `EOFError` if the model's answer ended in the middle."""
        if not self._whole:
            raise EOFError("the model's answer ended without its last event")

    def _is_encoded(self, item: str) -> bool:
        if not self._first or not item.startswith("data: {") or not item.endswith("\n\n"):
            return False
        try:
            return bool(orjson.loads(item[6:])["type"] == self._first)
        except (orjson.JSONDecodeError, KeyError):
            return False

    def _decoded(self, decoder: Decoder, item: str) -> Iterator[Fields]:
        for event in decoder.feed(item.encode()):
            if isinstance(event, Event) and event.data != "[DONE]":  # the closing has it
                yield orjson.loads(event.data)

    def _object(self, item: Any) -> Iterator[str | Fields]:
        fields = fields_of(item)
        text = self._text(fields)
        if self._native is not None and self._native(fields):
            yield fields
        elif text is not None:
            yield from filter(None, [text])
        elif self._native is None:
            yield fields
        else:
            raise not_taken(item)

    def _text(self, fields: Fields) -> str | None:
        """Return the text in an event of a model; None if it is not one. Note whether the answer is whole."""
        if is_chat_chunk(fields):
            choices = [choice for choice in fields.get("choices") or () if not choice.get("index")]
            if choices:
                self._whole = any(choice.get("finish_reason") for choice in choices)
            return "".join(choice["delta"].get("content") or "" for choice in choices)
        kind = fields.get("type")
        if is_response_event(fields):
            if kind in FAILED and self._native is not is_response_event:
                raise RuntimeError(f"the model sent {kind}")
            self._whole = kind in COMPLETE or kind in FAILED
            return str(fields["delta"]) if kind == "response.output_text.delta" else ""
        if is_message_event(fields):
            # The SDK's own events come after the one that ends the message, too.
            self._whole = kind == "message_stop" or (self._whole and kind != "message_start")
            delta = fields.get("delta") or {}
            is_text = kind == "content_block_delta" and delta.get("type") == "text_delta"
            return str(delta["text"]) if is_text else ""
        return None


def fields_of(item: Any) -> Fields:
    """Return the fields of an object as they are in JSON. Raises `InvalidInput` if it is not a model's."""
    if hasattr(item, "to_dict"):  # of the SDKs of OpenAI and Anthropic: what the API sent, and no more
        return item.to_dict(mode="json")  # type: ignore[no-any-return]
    if hasattr(item, "model_dump"):
        return item.model_dump(mode="json", by_alias=True, exclude_none=True)  # type: ignore[no-any-return]
    raise not_taken(item)


def not_taken(item: Any) -> InvalidInput:
    return InvalidInput(
        f"yield a str, a dict, or an event of a model's SDK, not {type(item).__name__}", code="invalid_event"
    )
