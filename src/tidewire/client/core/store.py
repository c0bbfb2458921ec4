"""A position kept in a file, so that a program can continue where it stopped."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx2
import orjson

from ...errors import InvalidInput


class PositionStore:
    """
    The position of one subscription, in one file.

    The file is replaced as a whole, so a process that is killed while writing leaves the old position or the
    new one. It identifies the subscription by a hash of its URL and topics: the position of another
    subscription would silently skip events, so such a file is refused. The URL itself may hold a token and
    is not written.
    """

    def __init__(self, path: str | os.PathLike[str], url: httpx2.URL, topics: Iterable[str]) -> None:
        self._path = Path(path)
        self._subscription = fingerprint(url, topics)
        self._saved = self._load()

    @property
    def position(self) -> str | None:
        """The id that was saved last; None if there is no file yet."""
        return self._saved

    def save(self, position: str) -> None:
        """Write the position if it has changed."""
        if position == (self._saved or ""):
            return
        self._replace(orjson.dumps({"subscription": self._subscription, "last_event_id": position}))
        self._saved = position

    def _load(self) -> str | None:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            fields = orjson.loads(text)
            subscription, position = fields["subscription"], fields["last_event_id"]
        except (ValueError, TypeError, KeyError) as error:
            raise self._unusable("is not a position file") from error
        if subscription != self._subscription:
            raise self._unusable("holds the position of another subscription (another URL or other topics)")
        return str(position)

    def _unusable(self, why: str) -> InvalidInput:
        advice = "use another file, or delete this one to start over"
        return InvalidInput(f"{self._path} {why}: {advice}", code="invalid_store")

    def _replace(self, content: bytes) -> None:
        # In the same folder: a rename is atomic only within one file system.
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, self._path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise


def fingerprint(url: httpx2.URL, topics: Iterable[str]) -> str:
    """Return a hash that identifies a subscription, whatever its order of topics, password and fragment."""
    place = str(url.copy_with(username=None, password=None, fragment=None))
    return hashlib.sha256(orjson.dumps([place, sorted(topics)])).hexdigest()
