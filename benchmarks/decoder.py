"""
Our decoder and those of other Python packages: `python benchmarks/decoder.py` prints one markdown table.

Two streams are generated, the same ones each time: the tokens of a language model (many events of
a few words in a little JSON) and a broadcast (JSON of 1 KiB with a type and an id). Each is read in
chunks of 16 KiB, as they arrive from a socket under load, and with one event per chunk, as they arrive
when it is quiet.

Why it is fair:
- Each decoder reads bytes and returns events, through its package's public entry point. The HTTP
  library is left out for all: httpx-sse and httpx2 get a response that has only its headers and
  `iter_text`, which decodes UTF-8 as those of httpx and httpx2 do. With the real one they are slower.
- Every event is counted, and for one run the data is compared, before anything is measured.
- The decoders take turns, so a slow moment of the machine affects all of them. Figures are medians of
  CPU time.
"""

from __future__ import annotations

import codecs
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx2
import httpx_sse
import sseclient

from tidewire.event_stream import Decoder, Event, encode

CHUNK = 16 * 1024
ROUNDS = 15
OURS = "tidewire"

Chunks = Sequence[bytes]


class Row(NamedTuple):
    """Microseconds of CPU per event of each decoder, and those of the fastest other divided by ours."""

    stream: str
    chunks: str
    figures: dict[str, float]
    ratio: float


# -- the streams

WORDS = ["the", "of", "and", "to", "in", "is", "that", "stream", "event", "connection", "browser", "wire"]


def token_stream(events: int) -> list[bytes]:
    """Return what a language model's API sends: a few words at a time, as JSON."""
    numbers = random.Random(1)
    return [encode(Event(token(numbers), "content_block_delta")) for _ in range(events)]


def token(numbers: random.Random) -> str:
    text = "".join(" " + numbers.choice(WORDS) for _ in range(numbers.randint(1, 4)))
    delta = {"type": "text_delta", "text": text}
    return json.dumps({"type": "content_block_delta", "index": 0, "delta": delta}, separators=(",", ":"))


def broadcast_stream(events: int) -> list[bytes]:
    """Return what a hub sends: orders as JSON of 1 KiB, each with its type and position."""
    numbers = random.Random(2)
    return [
        encode(Event(order(numbers, number), "order", f"k3J9xQ.{number}")) for number in range(1, events + 1)
    ]


def order(numbers: random.Random, number: int) -> str:
    items = [
        {
            "sku": f"{numbers.getrandbits(32):08x}",
            "count": numbers.randint(1, 9),
            "price": numbers.randint(1, 9999),
        }
        for _ in range(20)
    ]
    return json.dumps({"order": number, "status": "paid", "items": items})[:1024].ljust(1024, "}")


STREAMS = {
    "LLM tokens": (token_stream, 20_000),
    "broadcast, 1 KiB": (broadcast_stream, 5_000),
}


def cut(blocks: Sequence[bytes]) -> Chunks:
    stream = b"".join(blocks)
    return [stream[start : start + CHUNK] for start in range(0, len(stream), CHUNK)]


# -- the decoders, as programs use them


def with_tidewire(chunks: Chunks) -> Iterator[Any]:
    decoder = Decoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)


def with_httpx_sse(chunks: Chunks) -> Iterator[Any]:
    return httpx_sse.EventSource(response(chunks)).iter_sse()


def with_httpx2(chunks: Chunks) -> Iterator[Any]:
    return iter(httpx2.EventSource(response(chunks)))


def with_sseclient(chunks: Chunks) -> Iterator[Any]:
    return sseclient.SSEClient(iter(chunks)).events()


def response(chunks: Chunks) -> Any:
    def iter_text() -> Iterator[str]:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return map(decode, chunks)

    headers = {"content-type": "text/event-stream"}
    return SimpleNamespace(headers=headers, iter_text=iter_text, request=None)


DECODERS: dict[str, Callable[[Chunks], Iterator[Any]]] = {
    OURS: with_tidewire,
    "httpx-sse": with_httpx_sse,
    "httpx2": with_httpx2,
    "sseclient-py": with_sseclient,
}


# -- measuring


def rows(rounds: int = ROUNDS, share: float = 1) -> list[Row]:
    """Measure everything; a small `share` of the events is enough to show that it runs."""
    measured = []
    for stream, (make, events) in STREAMS.items():
        blocks = make(int(events * share))
        check(blocks)
        for name, chunks in (("16 KiB", cut(blocks)), ("one event", blocks)):
            measured.append(row(stream, name, measure(chunks, len(blocks), rounds)))
    return measured


def row(stream: str, chunks: str, samples: dict[str, list[float]]) -> Row:
    figures = {name: median(times) for name, times in samples.items()}
    fastest = min((name for name in figures if name != OURS), key=figures.__getitem__)
    # A ratio for each round: the machine may be twice as slow in the next.
    ratio = median(other / ours for other, ours in zip(samples[fastest], samples[OURS], strict=True))
    return Row(stream, chunks, figures, ratio)


def check(blocks: Sequence[bytes]) -> None:
    expected = [event.data for event in with_tidewire(blocks)]
    assert len(expected) == len(blocks)
    for name, decode in DECODERS.items():
        assert [event.data for event in decode(cut(blocks))] == expected, name


def measure(chunks: Chunks, events: int, rounds: int) -> dict[str, list[float]]:
    """Return microseconds per event, one for each round."""
    samples: dict[str, list[float]] = {name: [] for name in DECODERS}
    for _ in range(rounds):
        for name, decode in DECODERS.items():
            before = time.process_time()
            count = sum(1 for _ in decode(chunks))
            samples[name].append((time.process_time() - before) / events * 1e6)
            assert count == events, name
    return samples


def table(measured: Sequence[Row]) -> str:
    header = ["stream", "chunks", *(f"{name}, us/event" for name in DECODERS), "fastest other / ours"]
    lines = [header, ["---"] * len(header)]
    for row in measured:
        lines.append(
            [row.stream, row.chunks, *(f"{us:.2f}" for us in row.figures.values()), f"{row.ratio:.2f}"]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    print(table(rows()))
