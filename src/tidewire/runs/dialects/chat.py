"""The chunks of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ...data import Encoder, as_text
from ...http.asgi import Headers
from ...log.runs import DONE, Run
from .protocol import INCOMPLETE, Spelled, part
from .yielded import CHAT_CHUNK, Yielded, is_chat_chunk


class OpenAiChat:
    """
    The chunks of OpenAI's chat completions, which its SDKs read with `stream=True`.

    A `dict` that is yielded is a chunk and is sent as it is, and so is a chunk that OpenAI's SDK read. A
    `str` is more of the answer's text; if there is nothing but text, a last chunk says that the answer is
    complete.
    """

    name = "openai_chat"
    headers: ClassVar[Headers] = []

    def speaker(self, run: Run, encoder: Encoder | None) -> OpenAiChatSpeaker:
        return OpenAiChatSpeaker(run, encoder)

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        if state == DONE:
            yield "message", "[DONE]"
        else:
            # The SDKs raise an error for it. Without `[DONE]`, nothing looks complete.
            yield part({"error": {"message": INCOMPLETE, "type": "server_error", "code": state}})


class OpenAiChatSpeaker:
    def __init__(self, run: Run, encoder: Encoder | None) -> None:
        self._run = run
        self._encoder = encoder
        self._yielded = Yielded(is_chat_chunk)
        self._only_text = True

    def item(self, item: Any) -> Iterator[Spelled]:
        for piece in self._yielded.read(item):
            if isinstance(piece, str):
                yield self._chunk({"content": piece}, None)
            else:
                self._only_text = False
                yield "message", as_text(piece, self._encoder)

    def last(self) -> Iterator[Spelled]:
        self._yielded.check_whole()
        if self._only_text:
            yield self._chunk({}, "stop")

    def _chunk(self, delta: Mapping[str, str], finish: str | None) -> Spelled:
        return part(
            {
                "id": self._run.id,
                "object": CHAT_CHUNK,
                "created": int(self._run.started),
                "model": "",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }
        )
