"""
What came back from an endpoint, piece by piece.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

End = Literal["open", "ended", "cut"]


class Piece(NamedTuple):
    """Bytes that arrived together, `at` seconds after the request."""

    at: float
    data: bytes


class Transfer(NamedTuple):
    """
    A response. Times are seconds since the request was sent.

    `end`: it was still `open` when it was left, it `ended` as it should, or it was `cut`.
    """

    url: str
    status: int
    http_version: str
    headers: Mapping[str, str]
    head_at: float
    pieces: list[Piece]
    end: End
    through: float

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self.content_type == "text/event-stream"

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def silences(self) -> list[float]:
        """How long each wait for bytes lasted, after the head."""
        times = [self.head_at, *(piece.at for piece in self.pieces)]
        times += [self.through] if self.end == "open" else []
        return [after - before for before, after in pairwise(times)]


def unzipped(pieces: Sequence[Piece]) -> tuple[list[Piece], bool]:
    """
    Return what a client has of compressed pieces, as soon as it has it.

    Also return whether more came after the end of the compressed data. Browsers do not read that.
    """
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        found = [Piece(at, part) for at, data in pieces if (part := decompressor.decompress(data))]
    except zlib.error:
        return [], False
    return found, bool(decompressor.unused_data)
