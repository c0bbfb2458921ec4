"""
What a client does next: connect, wait or stop. No I/O and no clock.

One generator drives both Python clients. The client takes a step, does it, and sends back the result:

    flow = reconnect_flow(decoder, policy, random.random)
    step = next(flow)
    while not isinstance(step, Stop):
        if isinstance(step, Connect):
            step = flow.send(...)      # Ended, Refused, Failed or Restarted
        else:
            step = flow.send(None)     # after `step.seconds`

After a stream that the server ended cleanly (for a deploy, or at its maximum age) the client reconnects
after the server's `retry:`, without backoff. After a failure it waits longer each time, with full jitter,
and never less than the server's `retry:` or `Retry-After`.

Spec: https://html.spec.whatwg.org/multipage/server-sent-events.html
By the standard a client gives up on every status but 200. A long-running program must survive a restart of
its server, so here 408, 425, 429 and 5xx mean "later". A network error means "later" in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from ...errors import StreamRefused, TidewireError, Unavailable
from ...event_stream import Decoder

# Request Timeout, Too Early, Too Many Requests: 4xx, but they may succeed later.
TRANSIENT = frozenset({408, 425, 429})

# A `Retry-After` beyond this is a mistake or an attack.
MAX_RETRY_AFTER = 3600.0

# The random part of a wait without backoff: enough to spread out the clients of one server,
# too little to be noticed.
JITTER = 0.1

# 2**16 times any wait exceeds every cap; without a bound the power overflows.
MAX_DOUBLINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    When and how often to reconnect. Times are in seconds.

    `retry` is the wait until the server sends a `retry:`; what it sends is kept between `shortest` and
    `longest`. `cap` limits what backoff adds. A connection that stays open for `stable` resets the count of
    failures. After `attempts` failures in a row the client gives up; with None it never does. With
    `reconnect=False` it does not reconnect after the first stream; until that is open it makes up to
    `attempts` requests, and one if that is None.
    """

    retry: float = 3.0
    shortest: float = 0.5
    longest: float = 300.0
    cap: float = 30.0
    stable: float = 30.0
    attempts: int | None = None
    reconnect: bool = True

    def base(self, retry: int | None) -> float:
        """Return the reconnection time in seconds for the server's `retry:` in milliseconds."""
        if retry is None:
            return self.retry
        # Compared as integers: a `retry: 9…9` of a thousand digits does not fit in a float.
        return min(max(retry, int(self.shortest * 1000)), int(self.longest * 1000)) / 1000

    def backoff(self, base: float, failures: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait after `failures` failures in a row; `random` returns 0 to 1."""
        if failures == 0:
            return base * (1 + JITTER * random())
        return base + random() * min(self.cap, base * (2.0 ** min(failures, MAX_DOUBLINGS) - 1))


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection. `last_event_id` is the value of the header; with None, send no such header."""

    last_event_id: bytes | None


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Do nothing for `seconds`. `reason` says what happened; `failures` is how many there were in a row.

    `status` and `headers` are those of the answer, if there was one that is not a stream.
    """

    seconds: float
    reason: str
    failures: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Stop:
    """
    Do not reconnect. `error`, if not None, is raised to the caller.

    `status` and `headers` are those of the answer, if there was one that is not a stream.
    """

    reason: str
    error: TidewireError | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """
    An open stream ended.

    `lived` is how many seconds it was open, `received` whether anything was received, and `error` what broke
    it; None if its body ended properly.
    """

    lived: float
    received: bool
    error: str | None = None

    @property
    def detail(self) -> str:
        return self.error or "the server ended the stream"

    def as_error(self) -> TidewireError | None:
        return None if self.error is None else Unavailable(self.error, code="stream_lost")


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer is not a stream. `detail` is for people; `code` is from a problem+json body."""

    status: int
    detail: str
    code: str = "stream_refused"
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    def as_error(self) -> TidewireError:
        error = StreamRefused(self.detail, code=self.code, retry_after=self.retry_after)
        error.status = self.status
        error.headers = self.headers
        return error


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer came. If `final`, none ever will: the request cannot be made."""

    detail: str
    final: bool = False

    def as_error(self) -> TidewireError:
        return StreamRefused(self.detail) if self.final else Unavailable(self.detail, code="unreachable")


@dataclass(frozen=True, slots=True)
class Restarted:
    """The caller asked for a new connection now. That is neither an end nor a failure."""


Step = Connect | Wait | Stop
Ending = Ended | Refused | Failed
Flow = Generator[Step, Ending | Restarted | None, None]


@dataclass(frozen=True, slots=True)
class Opened:
    """
    A stream is open. Passed to `on_change`.

    `url` is its URL after redirects; `headers` are those of the answer. After `silence` seconds without a
    byte the connection counts as dead; None: never.
    """

    url: str
    silence: float | None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Resumed:
    """
    A hub said how it resumed an open stream, and from which `position`. Passed to `on_change`.

    `how`: `fresh` (the request had no position), `complete` (nothing is missing) or `gap`.
    """

    how: str
    position: str


Change = Opened | Resumed | Wait | Stop
"""What `on_change` is called with."""


def reconnect_flow(
    decoder: Decoder, policy: Policy, random: Callable[[], float], renews_token: bool = False
) -> Flow:
    """
    Yield what to do next; the last step is a `Stop`.

    `renews_token`: the next request may have another token, so after a 401 there is one more, at once.
    After a `Connect` send an `Ended`, `Refused`, `Failed` or `Restarted`; after a `Wait` send None. The
    decoder is reset before each connection; it keeps the last event id and the reconnection time.
    """
    failures = 0
    renewed = False
    while True:
        decoder.reset()
        ending = yield Connect(header_value(decoder.last_event_id))
        assert ending is not None
        if isinstance(ending, Restarted):
            continue
        base = policy.base(decoder.retry)
        failures, seconds = _count_failures(ending, policy, base, failures, random)
        renewed = renews_token and not renewed and isinstance(ending, Refused) and ending.status == 401
        stop = _stop_after(ending, policy, failures, renewed)
        if stop is not None:
            yield stop
            return
        yield Wait(0.0 if renewed else seconds, ending.detail, failures, *_status_and_headers(ending))


def is_transient(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in TRANSIENT or status >= 500


def retry_wait(
    policy: Policy, retry_after: float | None, failures: int, left: float, random: Callable[[], float]
) -> float | None:
    """
    Return the seconds to wait before a failed request is sent again; None if that is more than `left`.

    `left` is the number of seconds for which it may still be sent again; `failures` includes this one.
    """
    seconds = policy.backoff(policy.retry, failures, random)
    if retry_after is not None:
        seconds = max(seconds, retry_after + random() * policy.retry)
    return seconds if seconds <= left else None


def header_value(last_event_id: str) -> bytes | None:
    """Return the value of the `Last-Event-ID` header for an id; None if the id is empty."""
    # The standard encodes the id as UTF-8; HTTP libraries may encode text in another way. Blanks around a
    # header's value belong to HTTP: every server drops them, and a strict client refuses to send them.
    return last_event_id.encode("utf-8").strip(b" \t") or None


def is_stream(status: int, content_type: str) -> bool:
    """Whether an answer is an event stream: its status and media type decide, parameters do not."""
    # "text/event-streamer" is another type, "TEXT/Event-Stream" is the same.
    return status == 200 and content_type.partition(";")[0].strip().lower() == "text/event-stream"


def silence_limit(heartbeat: str | None) -> float | None:
    """
    Return after how many seconds of silence a connection counts as dead, by its `Tidewire-Heartbeat` header.

    That is two and a half heartbeats: one may be lost and the next may be late. None if the server sends no
    such header.
    """
    if heartbeat is None or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", heartbeat.strip()):
        return None
    return 2.5 * float(heartbeat) or None


def _count_failures(
    ending: Ending, policy: Policy, base: float, failures: int, random: Callable[[], float]
) -> tuple[int, float]:
    """Return the failures in a row after this ending, and the seconds to wait."""
    if isinstance(ending, Ended):
        if ending.lived >= policy.stable:
            failures = 0
        if ending.error is None:
            # A clean end. A server that ends an empty stream may do so once without backoff; if it
            # keeps doing that, it is broken.
            counted = 0 if ending.received else failures
            failures += not ending.received and ending.lived < policy.stable
            return failures, policy.backoff(base, counted, random)
    failures += 1
    seconds = policy.backoff(base, failures, random)
    if isinstance(ending, Refused) and ending.retry_after is not None:
        # All refused clients got the same number; they must not reconnect at the same moment.
        asked = min(ending.retry_after, MAX_RETRY_AFTER) + random() * base
        seconds = max(seconds, asked)
    return failures, seconds


def _stop_after(ending: Ending, policy: Policy, failures: int, renewed: bool) -> Stop | None:
    """Return a `Stop` if the client must not reconnect after this ending; `renewed`: with another token."""
    if isinstance(ending, Refused) and ending.status == 204:
        # "a client can be told to stop reconnecting using the HTTP 204 No Content response code."
        return Stop("the server ended the stream for good (204)", None, *_status_and_headers(ending))
    if _is_final(ending, policy, renewed):
        return Stop(ending.detail, ending.as_error(), *_status_and_headers(ending))
    if policy.attempts is not None and failures >= policy.attempts:
        many = "1 failure" if failures == 1 else f"{failures} failures"
        reason = f"gave up after {many}: {ending.detail}"
        error = ending.as_error() or Unavailable(reason, code="unreachable")
        return Stop(reason, error, *_status_and_headers(ending))
    return None


def _is_final(ending: Ending, policy: Policy, renewed: bool) -> bool:
    """Whether another attempt would end the same way, or the policy wants none."""
    if isinstance(ending, Refused) and not (renewed or is_transient(ending.status)):
        return True
    if isinstance(ending, Failed) and ending.final:
        return True
    return not policy.reconnect and (isinstance(ending, Ended) or policy.attempts is None)


def _status_and_headers(ending: Ending) -> tuple[int | None, Mapping[str, str]]:
    return (ending.status, ending.headers) if isinstance(ending, Refused) else (None, {})
