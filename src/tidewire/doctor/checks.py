"""
Judging what an endpoint sent. No I/O: transfers in, findings out.

Rule 1: what cannot be known from outside is not guessed. A stream that was never silent has shown no
        heartbeat, and it is not said to have none.
Rule 2: a good endpoint gives no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from .blocks import Block, Blocks, blocks_of
from .findings import Finding, counted, error, warning
from .seen import Transfer, unzipped
from .timestamps import time_of

# Seconds. Proxies and load balancers close what is silent for 30 to 60 s, and a client that watches for bytes
# must know sooner.
SILENCE = 16.0
# A head this late waits for the first event.
LATE_HEAD = 3.0
# Events that arrived within this time came together.
TOGETHER = 0.05
# Events that came together and were made this far apart were held back.
APART = 0.5
# Seconds at the beginning in which old events may come together: a replay.
REPLAY = 1.0
# A rest of a block that comes this much later was held back.
PAUSE = 0.1

# Headers by which those in between name themselves.
PROXIES = ("via", "server", "x-served-by", "x-cache", "cf-ray", "x-amz-cf-id", "x-varnish", "fly-request-id")


def check_head(found: Transfer) -> Iterator[Finding]:
    if found.status != 200:
        yield error(
            "status",
            f"the status is {found.status}",
            "A browser's EventSource takes nothing but 200, and gives up for good.",
        )
        return
    if found.content_type != "text/event-stream":
        yield error(
            "content_type",
            f"the content type is {found.headers.get('content-type', 'missing')!s:.100}",
            "Send Content-Type: text/event-stream. A browser refuses everything else.",
        )
        return
    charset = found.headers["content-type"].lower().partition("charset=")[2].strip('" ;')
    if charset not in ("", "utf-8", "utf8"):
        yield error("charset", f"the charset is {charset:.40}", "An event stream is always UTF-8.")
    cache = found.headers.get("cache-control", "").lower()
    if "no-cache" not in cache and "no-store" not in cache:
        yield warning(
            "cache_control",
            "nothing forbids caches to keep the stream",
            "Send Cache-Control: no-store (and no-transform, so that nothing compresses it on the way).",
        )
    if "content-length" in found.headers:
        yield error(
            "content_length",
            "the head has a Content-Length, so the stream ends after that many bytes",
            "Stream the response instead of building it first.",
        )
    if found.head_at > LATE_HEAD:
        yield warning(
            "late_head",
            f"the head came after {found.head_at:.1f} s",
            "Send the head and a comment at once: until then a browser does not call onopen.",
        )


def check_buffering(found: Transfer, blocks: Blocks) -> Iterator[Finding]:
    if not found.pieces:
        if found.end == "open":
            yield error(
                "nothing",
                f"the head came, and then nothing for {found.through - found.head_at:.0f} s",
                "Send a comment at once: Firefox does not resolve fetch() before the first byte. "
                + between(found),
            )
        return
    held = held_back(blocks.events, found.pieces[0].at + REPLAY) or cut_up(found, blocks)
    if held:
        yield error("held_back", held, f"Turn off buffering for this path. {between(found)}")


def held_back(events: Sequence[Block], after: float) -> str | None:
    """Say how old events were that came together, by the times that they carry."""
    groups: list[list[Block]] = []
    for event in events:
        if event.at <= after:
            continue
        if groups and event.at - groups[-1][-1].at <= TOGETHER:
            groups[-1].append(event)
        else:
            groups.append([event])
    for group in groups:
        times = [made for event in group if (made := time_of(event)) is not None]
        if len(times) > 1 and max(times) - min(times) >= APART:
            spread = max(times) - min(times)
            return f"{len(times)} events came together that were made {spread:.1f} s apart"
    return None


def cut_up(found: Transfer, blocks: Blocks) -> str | None:
    """Say that events were cut where a buffer was full, if their rest came much later."""
    times = [piece.at for piece in found.pieces]
    pauses = [
        after - before
        for before, after in pairwise(times)
        if before in blocks.cuts and after - before > PAUSE
    ]
    if len(pauses) < 2:
        return None
    return f"{len(pauses)} times the rest of an event came up to {max(pauses):.1f} s after its beginning"


def between(found: Transfer) -> str:
    """Name those who may have held events back, and what to do there."""
    names = [f"{name}: {found.headers[name]:.60}" for name in PROXIES if name in found.headers]
    who = ", ".join(names) or "no proxy names itself"
    fix = "In the response send X-Accel-Buffering: no, which nginx obeys, and flush after each event."
    return f"{fix} On the way: {who}."


def check_heartbeat(found: Transfer) -> Iterator[Finding]:
    longest = max(found.silences, default=0.0)
    if found.pieces and longest >= SILENCE:
        yield warning(
            "no_heartbeat",
            f"nothing came for {longest:.0f} s, not even a comment",
            "Send a comment such as `:` each 15 s: proxies close what is silent, and without bytes nobody "
            "notices a dead connection.",
        )


def check_blocks(blocks: Blocks) -> Iterator[Finding]:
    if any(block.data is None and block.last("retry") is not None for block in blocks.found):
        yield warning(
            "retry_block",
            "`retry:` stands in a block of its own",
            "Send it within the first event: the SDKs of OpenAI and Anthropic take the block for an event "
            "without data, and fail.",
        )
    for block in blocks.found:
        retry = block.last("retry")
        if retry and not (retry.isascii() and retry.isdigit()):
            yield warning("retry_value", f"`retry: {retry:.40}` is not a number", "Send milliseconds.")
            break
    if blocks.events and not any(event.id for event in blocks.events):
        yield warning(
            "no_ids",
            "no event has an id",
            "Send `id:` with each event: a client that comes back cannot say what it had, and loses what "
            "came in the meantime.",
        )


def check_gzip(found: Transfer, plain: Blocks) -> Iterator[Finding]:
    """`found` was asked for with `Accept-Encoding: gzip` while `plain` was read."""
    if found.headers.get("content-encoding", "").lower() not in ("gzip", "deflate"):
        return
    pieces, is_in_parts = unzipped(found.pieces)
    events = len(blocks_of(pieces).events)
    if is_in_parts:
        yield error(
            "gzip",
            f"it is compressed in parts, and browsers read only the first: {counted(events, 'event')}",
            "Leave this content type uncompressed, or compress the stream as a whole and flush the "
            "compressor after each event.",
        )
    elif len(plain.events) > 1 and events < len(plain.events) // 2:
        yield error(
            "gzip",
            f"compressed, {counted(events, 'event')} arrived in the time in which {len(plain.events)} did "
            "otherwise",
            "Flush the compressor after each event, or leave this content type uncompressed.",
        )


def check_resume(events: Sequence[Block], cursor: int, again: Transfer) -> Iterator[Finding]:
    """`again` was asked to go on after the event `cursor` of `events`."""
    if not again.is_stream:
        if again.status != 204:
            yield error(
                "resume_status",
                f"asked to go on after the id {events[cursor].id!r:.60}, it answered {again.status}",
                "Answer 200, or 204 if the stream is over.",
            )
        return
    found = blocks_of(again.pieces).events
    had = {event.id for event in events[: cursor + 1] if event.id}
    missed = [event.id for event in events[cursor + 1 :] if event.id]
    ids = [event.id for event in found if event.id]
    if any(event.type == "hub.gap" for event in found):
        return  # what is missing is told
    if had.intersection(ids):
        yield error(
            "repeats",
            "asked to go on after an event, it sent that event or older ones again",
            "Send only what came after Last-Event-ID.",
        )
    elif missed and missed[0] not in ids:
        yield error(
            "resume_ignored",
            f"asked to go on after an event, it left out the next {len(missed)}",
            "Keep recent events, and send those after Last-Event-ID first: each reconnect loses some now.",
        )


def check_end(found: Transfer, events: Sequence[Block], again: Transfer | None) -> Iterator[Finding]:
    """`again` was asked for with the last id after `found` had come to its end."""
    if found.end == "cut":
        yield warning(
            "cut",
            f"the stream broke off after {found.through:.1f} s",
            "End the response properly, so that clients can tell an end from a fault.",
        )
    if again is None or again.status == 204:
        return
    if not again.is_stream:
        yield warning(
            "end_status",
            f"after its end it answered {again.status}",
            "A browser's EventSource gives up for good. If that is meant, answer 204; else 200.",
        )
        return
    first = blocks_of(again.pieces).events[:1]
    if first and events and first[0].fields == events[0].fields:
        yield error(
            "no_204",
            "it ended, and began again from its first event when the client came back",
            "Send ids, and answer 204 to a Last-Event-ID with nothing after it. Otherwise an EventSource "
            "comes back for ever, and gets the same events each time.",
        )


def check_cors(origin: str, found: Transfer, preflight: Transfer) -> Iterator[Finding]:
    if found.headers.get("access-control-allow-origin") not in ("*", origin):
        yield error(
            "cors",
            f"pages of {origin} may not read it",
            f"Send Access-Control-Allow-Origin: {origin} (and Access-Control-Allow-Credentials: true for "
            "cookies).",
        )
        return
    allowed = preflight.headers.get("access-control-allow-headers", "").lower().split(",")
    names = {name.strip() for name in allowed}
    same_origin = preflight.headers.get("access-control-allow-origin") in ("*", origin)
    if not (200 <= preflight.status < 300 and same_origin and names & {"*", "last-event-id"}):
        yield warning(
            "preflight",
            f"the preflight of {origin} for Last-Event-ID is refused",
            "Answer OPTIONS with Access-Control-Allow-Headers: last-event-id, authorization: clients that "
            "use fetch cannot resume otherwise.",
        )
