"""SSE clients of others read a normal and a plain stream, through silence, gaps and restarts (G20)."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from support.client_matrix import BOTH, STREAMS, Client
from support.client_scenarios import (
    Open,
    be_over_at_a_restart,
    meet_a_gap,
    read_to_its_end,
    survive_two_restarts,
)
from support.foreign_clients import Reader, Server

each_client = pytest.mark.parametrize("client", STREAMS, ids=lambda client: client.id)
each_stream = pytest.mark.parametrize("stream", BOTH)


def opener(client: Client) -> Open:
    return partial(Reader, client, "streams")


@each_stream
@each_client
def test_a_stream_is_read_exactly_to_its_end(server: Server, client: Client, topic: str, stream: str) -> None:
    read_to_its_end(server, client, topic, stream, opener(client))


@each_stream
@each_client
def test_a_gap_is_told(server: Server, client: Client, topic: str, stream: str) -> None:
    meet_a_gap(server, client, topic, stream, opener(client))


RESUMING = [(client, stream) for client in STREAMS for stream in client.resumes]
# It asks again once after a proper end, and raises an error if the server is not back.
ASKS_ONCE = ("aiohttp-sse-client", "normal", signal.SIGTERM)
OTHERS = [
    (client, stream, number)
    for client in STREAMS
    for stream in BOTH
    for number in (signal.SIGTERM, signal.SIGKILL)
    if stream not in client.resumes and (client.package, stream, number) != ASKS_ONCE
]


def id_of(value: object) -> str:
    return value.id if isinstance(value, Client) else getattr(value, "name", str(value))


@pytest.mark.parametrize(("client", "stream"), RESUMING, ids=id_of)
def test_all_events_over_two_restarts(server: Server, client: Client, topic: str, stream: str) -> None:
    survive_two_restarts(server, client, topic, stream, opener(client))


@pytest.mark.parametrize(("client", "stream", "number"), OTHERS, ids=id_of)
def test_the_others_are_over_at_a_restart(
    server: Server, client: Client, topic: str, stream: str, number: signal.Signals
) -> None:
    be_over_at_a_restart(server, client, topic, stream, number, opener(client))
