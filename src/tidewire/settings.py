"""
All settings. Each is one row: its default, what it does and the reason for the default.

The command line, the environment (`TIDEWIRE_` and the name in capitals), `Hub(**settings)`
and docs/reference/settings.md all read this table, so nothing is written twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .errors import InvalidInput

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


def row(default: Any, help: str, why: str, *, least: float = 0, off: str | None = None) -> Any:
    """Describe one setting. `off` says what 0 means, if 0 is allowed."""
    return field(default=default, metadata={"help": help, "why": why, "least": least, "off": off})


@dataclass(frozen=True, slots=True, init=False)
class Settings:
    """The settings of a hub and its server. Times are seconds, sizes are bytes."""

    # -- streams
    retry: float = row(
        2.0,
        "Seconds a client waits before it reconnects; sent as `retry:`.",
        "Without it browsers wait 3 to 5 s. For a person 2 s is short, for a server it is long.",
        least=0.5,
    )
    heartbeat: float = row(
        15.0,
        "Seconds of silence before a heartbeat comment is sent.",
        'The standard suggests "every 15 seconds or so"; proxies close idle connections after 30 to 60.',
        least=1,
    )
    max_age: float = row(
        3600.0,
        "Seconds after which our own server ends a stream, give or take 10 %.",
        "Clients then reconnect now and then, so a deploy looks like an ordinary minute.",
        least=1,
    )
    max_age_portable: float = row(
        600.0,
        "Seconds after which a stream on another ASGI server is ended, give or take 10 %.",
        "The hub cannot see how much other servers buffer; a shorter life limits it.",
        least=1,
    )
    drain: float = row(
        10.0,
        "Seconds over which clients reconnect after the process stops.",
        "Over ten seconds, 10,000 reconnects are 1,000 a second.",
    )
    run_grace: float = row(
        0.0,
        "Seconds for which open runs may go on after the process is told to stop; then they end as lost.",
        "A deploy waits for answers only if you want that: supervisors kill a process after 10 to 90 s.",
    )
    stuck_timeout: float = row(
        30.0,
        "Seconds without an acknowledged byte after which a stuck reader is disconnected (our own server).",
        "Otherwise a half-open connection goes unnoticed: 45 s and more without an error were measured.",
        least=1,
    )
    send_timeout: float = row(
        120.0,
        "Seconds that one `send` may block before a stream is ended (other servers).",
        "Other servers do not show progress within a `send`, so a slow phone needs more time.",
        least=1,
    )
    max_topics: int = row(
        100, "Topics and patterns in one subscription.", "They must fit in a URL of 8 KiB.", least=1
    )
    max_streams: int = row(
        0,
        "Open streams on this node.",
        "Each stream takes a descriptor; the other 20 % are for publishers and files.",
        off="80 % of the descriptor limit",
    )
    stream_rate: float = row(
        200.0,
        "New streams per second from one address (one /64 for IPv6), not counted on loopback.",
        "A script that reconnects in a loop is slowed down, and clients at other addresses do not notice.",
        off="no limit",
    )
    stream_burst: int = row(
        400,
        "New streams that one address may open at once, beyond the rate.",
        "Two seconds at the default rate.",
        least=1,
    )
    max_streams_per_address: int = row(
        100,
        "Open streams per address (per /64 for IPv6) in all processes with the log, not counted on loopback.",
        "Enough for an office behind one address, and one script cannot take up the whole node.",
        off="no limit",
    )
    max_streams_per_subject: int = row(
        20,
        "Open streams per subject of a grant (its `iss` and `sub`) in all processes with the log.",
        "A few tabs on each device of one user.",
        off="no limit",
    )
    max_tickets_per_subject: int = row(
        100,
        "Tickets that one subject of a grant may get at once, and then per minute, from each process.",
        "Five for each stream that a subject may have; a client in a loop cannot fill the log.",
        off="no limit",
    )
    max_memory: int = row(
        0,
        "Bytes of memory that the process may use: from 80 % of them on it sheds load (Linux).",
        "A container has a limit already; the processes in it share it.",
        least=MIB,
        off="the limit of its container or service, if it has one",
    )
    # -- the log
    window_entries: int = row(
        10_000, "Newest entries kept in memory for resuming.", "A minute at 160 events a second.", least=1
    )
    window_bytes: int = row(
        64 * MIB, "Bytes of the newest entries kept in memory.", "Fits in a small container.", least=KIB
    )
    retention_entries: int = row(1_000_000, "Entries the log keeps.", "A day at 11 events a second.", least=1)
    retention_bytes: int = row(GIB, "Bytes the log keeps.", "Fits on a small disk.", least=KIB)
    retention_age: float = row(
        86_400.0, "Seconds the log keeps an entry.", "A laptop that slept overnight can resume.", least=1
    )
    key_age: float = row(
        600.0, "Seconds a key is remembered.", "No publisher retries a request for longer than that.", least=1
    )
    ended_age: float = row(
        30 * 86_400.0,
        "Seconds an ended topic stays ended; then its name is free again.",
        "A client that was away for a holiday is still answered 204.",
        least=1,
    )
    max_keys: int = row(
        1_000_000, "Keys remembered at once.", "About 200 MB. No key is forgotten early.", least=1
    )
    # -- publishing
    max_event: int = row(
        256 * KIB, "Bytes of one event's data.", "Send a link instead of anything larger.", least=1
    )
    max_body: int = row(MIB, "Bytes of one publish request.", "A batch of 1,000 events of 1 KiB.", least=1)
    max_batch: int = row(1_000, "Events in one atomic batch.", "Keeps a commit short.", least=1)
    max_line: int = row(
        256 * KIB, "Bytes of one line of a streaming ingest.", "The same as for one event.", least=1
    )
    line_timeout: float = row(
        30.0, "Seconds of silence that end a streaming ingest.", "The same as for any other body.", least=1
    )
    max_publishes: int = row(
        1_000,
        "Publishes that may wait for the engine at the same time.",
        "More of them would only wait longer.",
        least=1,
    )
    publish_rate: float = row(
        0.0,
        "Events per second that one subject of a grant may publish to each process.",
        "Most publishers are the site's own servers; set it where users publish. 100 is plenty for a person.",
        off="no limit",
    )
    publish_burst: int = row(
        500,
        "Events that one subject may publish at once, beyond the rate.",
        "Five seconds at 100 events a second.",
        least=1,
    )
    engine_timeout: float = row(
        4.0,
        "Seconds a publish waits for the engine.",
        "Every publish is answered within 5 s; this leaves a margin.",
        least=0.1,
    )
    # -- grants
    max_token_life: float = row(
        86_400.0,
        "Seconds that a token lives at most; a revoked subject is refused for as long.",
        "After a day no token from before the revocation is left.",
        least=60,
    )
    # -- the inspector
    inspect_data: int = row(
        64 * KIB,
        "Bytes of an event's data that the inspector shows; longer data is cut there.",
        "A page of it stays quick, and hardly any event is longer.",
        off="data is hidden",
    )
    # -- requests
    head_timeout: float = row(
        10.0,
        "Seconds for the head of a request.",
        "A client that sends one byte every 5 s cannot hold a socket longer.",
        least=1,
    )
    body_timeout: float = row(30.0, "Seconds for the body of a publish.", "The same, for bodies.", least=1)
    max_connections_per_address: int = row(
        1_000,
        "Connections without a stream per address (or /64 of IPv6) in each process, not counted on loopback.",
        "Far more than a browser or a proxy keeps open; a flood costs as little as can be.",
        off="no limit",
    )
    max_head_bytes: int = row(
        32 * KIB, "Bytes of a request's head.", "Four times the largest head that browsers send.", least=KIB
    )
    max_headers: int = row(100, "Headers of a request.", "Browsers send about 20.", least=1)
    max_url_bytes: int = row(
        8 * KIB, "Bytes of a request's URL.", "The limit of most servers and proxies.", least=256
    )

    given: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    """The names of the settings that were passed, even if with their default values."""

    def __init__(self, **values: float) -> None:
        """Raises `InvalidInput` if a name is unknown or a value is out of range."""
        if unknown := sorted(values.keys() - ROWS.keys()):
            raise InvalidInput(f"unknown setting {unknown[0]!r}", code="invalid_setting")
        for name, item in ROWS.items():
            value = values.get(name, item.default)
            check(item, value)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "given", frozenset(values))

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Settings:
        """Read settings from text, by name. Raises `InvalidInput` as the constructor does."""
        return cls(**{name: parse(name, text) for name, text in texts.items()})


ROWS = {item.name: item for item in dataclasses.fields(Settings) if item.init}


def parse(name: str, text: str) -> float | int:
    """Turn `text` into a value of the setting `name`. Raises `InvalidInput` if it is not a number."""
    kind: type[float | int] = type(default(ROWS[name]))
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise InvalidInput(f"{name} must be {wanted}, not {text!r}", code="invalid_setting") from None


def default(item: dataclasses.Field[Any]) -> float | int:
    return cast(float | int, item.default)


def check(item: dataclasses.Field[Any], value: object) -> None:
    kind = type(default(item))
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not is_finite(value):
        wanted = "a whole number" if kind is int else "a number"
        raise InvalidInput(f"{item.name} must be {wanted}, not {value!r}", code="invalid_setting")
    if item.metadata["off"] is not None and value == 0:
        return
    if value < item.metadata["least"]:
        raise InvalidInput(f"{item.name} must be at least {item.metadata['least']}", code="invalid_setting")


def is_finite(value: float) -> bool:
    """Return whether `value` is finite as a float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False
