"""
What a client does next: connect, wait or stop. No I/O and no clock.

One generator drives both Python clients. The client takes a step, does it, and sends back how it went:

    flow = reconnect_flow(decoder, policy, random.random)
    step = next(flow)
    while not isinstance(step, Stop):
        if isinstance(step, Connect):
            step = flow.send(...)      # Ended, Refused, Failed or Restarted
        else:
            step = flow.send(None)     # after `step.seconds`

A server that ends a stream in good order (a deploy, a lifetime that is over) is asked again after its
own `retry:`, with no backoff added. What fails is asked again later and later, with full jitter, and
never sooner than the server's `retry:` or `Retry-After`.

Spec: https://html.spec.whatwg.org/multipage/server-sent-events.html
It gives up on every status but 200; a long-running program must survive a restart of its server, so here
408, 425, 429 and 5xx mean "later". A network error means that in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from ...errors import StreamRefused, TidewireError, Unavailable
from ...event_stream import Decoder

# Request Timeout, Too Early, Too Many Requests: the client's fault by number, but it passes.
LATER = frozenset({408, 425, 429})

# A `Retry-After` beyond this is a mistake or an attack; a person would have looked by then.
MAX_RETRY_AFTER = 3600.0

# The part of the wait that is random where no backoff is added: enough that clients
# of one server fall out of step, too little to be noticed.
JITTER = 0.1

# 2**16 times any wait is beyond every cap; without a bound the power overflows.
MAX_DOUBLINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    When and how often to reconnect. Times are seconds.

    `retry` is the wait while the server has named none; what it names by `retry:` counts within
    `shortest` and `longest`. `cap` bounds what backoff adds. A connection that lived for `stable`
    ends a row of failures. After `attempts` failures in a row the client gives up; None is never.
    With `reconnect` false the end of the first stream is the end; until one is open `attempts` requests are
    made, and None is one.
    """

    retry: float = 3.0
    shortest: float = 0.5
    longest: float = 300.0
    cap: float = 30.0
    stable: float = 30.0
    attempts: int | None = None
    reconnect: bool = True

    def base(self, retry: int | None) -> float:
        """Return the reconnection time for the server's `retry:` in milliseconds."""
        if retry is None:
            return self.retry
        # Compared as integers: `retry: 9…9` of a thousand digits is no float.
        return min(max(retry, int(self.shortest * 1000)), int(self.longest * 1000)) / 1000

    def backoff(self, base: float, failures: int, random: Callable[[], float]) -> float:
        """Return how long to wait after so many failures in a row; `random` gives 0 to 1."""
        if failures == 0:
            return base * (1 + JITTER * random())
        return base + random() * min(self.cap, base * (2.0 ** min(failures, MAX_DOUBLINGS) - 1))


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection; `last_event_id` is the header's value, None means no such header."""

    last_event_id: bytes | None


@dataclass(frozen=True, slots=True)
class Wait:
    """
    Do nothing for `seconds`; `reason` is what happened, `failures` how many in a row.

    `status` and `headers` are those of the answer, where one came that was no stream.
    """

    seconds: float
    reason: str
    failures: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Stop:
    """
    Do not come back; `error` is to be raised if it is not None.

    `status` and `headers` are those of the answer, where one came that was no stream.
    """

    reason: str
    error: TidewireError | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """
    A stream was open and is over.

    `lived` is how many seconds it was open; `received` whether anything came through it; `error` what
    broke it, None if its body ended as HTTP says it should.
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
    """An answer came that is no stream; `detail` says it for people, `code` if it came as a problem."""

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
    """No answer came. `final`: none ever will, since the request itself cannot be made."""

    detail: str
    final: bool = False

    def as_error(self) -> TidewireError:
        return StreamRefused(self.detail) if self.final else Unavailable(self.detail, code="unreachable")


@dataclass(frozen=True, slots=True)
class Restarted:
    """Whoever reads the stream wants a new connection now. That is neither an end nor a failure."""


Step = Connect | Wait | Stop
Ending = Ended | Refused | Failed
Flow = Generator[Step, Ending | Restarted | None, None]


@dataclass(frozen=True, slots=True)
class Opened:
    """
    A stream is open, told to whoever watches a client.

    `url` is where it led after redirects, `headers` those of the answer. After `silence` seconds without a
    byte it will be given up for dead; None is never.
    """

    url: str
    silence: float | None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Resumed:
    """
    A hub says how an open stream goes on, from `position`.

    `how`: `fresh` (no position was brought), `complete` (nothing is missing) or `gap`.
    """

    how: str
    position: str


Change = Opened | Resumed | Wait | Stop


def reconnect_flow(decoder: Decoder, policy: Policy, random: Callable[[], float]) -> Flow:
    """
    Yield what to do next, and Stop as the last.

    After a `Connect` send an `Ended`, `Refused`, `Failed` or `Restarted`; after a `Wait` send None. The
    decoder is reset before each connection: "the last event ID" and the reconnection time stay with it.
    """
    failures = 0
    while True:
        decoder.reset()
        ending = yield Connect(header_value(decoder.last_event_id))
        assert ending is not None
        if isinstance(ending, Restarted):
            continue
        base = policy.base(decoder.retry)
        failures, seconds = _weigh(ending, policy, base, failures, random)
        stop = _verdict(ending, policy, failures)
        if stop is not None:
            yield stop
            return
        yield Wait(seconds, ending.detail, failures, *_answer(ending))


def passes(status: int) -> bool:
    """Whether the same request may well succeed later."""
    return status in LATER or status >= 500


def patience_left(
    policy: Policy, retry_after: float | None, failures: int, left: float, random: Callable[[], float]
) -> float | None:
    """
    Return how long to wait before a request that failed is sent again; None if there is no time for it.

    `left` is how many seconds it may take in all from now; `failures` counts this one too.
    """
    seconds = policy.backoff(policy.retry, failures, random)
    if retry_after is not None:
        seconds = max(seconds, retry_after + random() * policy.retry)
    return seconds if seconds <= left else None


def header_value(last_event_id: str) -> bytes | None:
    """Return the `Last-Event-ID` header for an id; None for no id, after a reset by an empty one too."""
    # The standard encodes the id as UTF-8, whatever HTTP libraries make of text. Blanks around a header's
    # value belong to HTTP: every server drops them, and a strict client refuses to send them.
    return last_event_id.encode("utf-8").strip(b" \t") or None


def is_stream(status: int, content_type: str) -> bool:
    """Whether an answer is an event stream: the status and the type decide, parameters do not."""
    # "text/event-streamer" is another type, and "TEXT/Event-Stream" the same.
    return status == 200 and content_type.partition(";")[0].strip().lower() == "text/event-stream"


def silence_limit(heartbeat: str | None) -> float | None:
    """
    Return after how many seconds of silence a connection is dead, by the `Tidewire-Heartbeat` header.

    Two and a half heartbeats: one may be lost, the next may be late. None: the server promises nothing.
    """
    if heartbeat is None or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", heartbeat.strip()):
        return None
    return 2.5 * float(heartbeat) or None


def _weigh(
    ending: Ending, policy: Policy, base: float, failures: int, random: Callable[[], float]
) -> tuple[int, float]:
    """Return the failures in a row after this ending, and how long to wait."""
    if isinstance(ending, Ended):
        if ending.lived >= policy.stable:
            failures = 0
        if ending.error is None:
            # Ended in good order. A server that sends nothing and hangs up may do so once without
            # backoff; one that goes on like that is broken, however politely.
            counted = 0 if ending.received else failures
            failures += not ending.received and ending.lived < policy.stable
            return failures, policy.backoff(base, counted, random)
    failures += 1
    seconds = policy.backoff(base, failures, random)
    if isinstance(ending, Refused) and ending.retry_after is not None:
        # All who were refused got the same number: they must not come back in the same instant.
        asked = min(ending.retry_after, MAX_RETRY_AFTER) + random() * base
        seconds = max(seconds, asked)
    return failures, seconds


def _verdict(ending: Ending, policy: Policy, failures: int) -> Stop | None:
    """Return Stop if there is no coming back from this ending."""
    if isinstance(ending, Refused) and ending.status == 204:
        # "a client can be told to stop reconnecting using the HTTP 204 No Content response code."
        return Stop("nothing more will come (204)", None, *_answer(ending))
    if _for_good(ending, policy):
        return Stop(ending.detail, ending.as_error(), *_answer(ending))
    if policy.attempts is not None and failures >= policy.attempts:
        reason = f"gave up after {failures} failures: {ending.detail}"
        error = ending.as_error() or Unavailable(reason, code="unreachable")
        return Stop(reason, error, *_answer(ending))
    return None


def _for_good(ending: Ending, policy: Policy) -> bool:
    """Whether it would be the same the next time, or no next time is wanted."""
    if isinstance(ending, Refused) and not passes(ending.status):
        return True
    if isinstance(ending, Failed) and ending.final:
        return True
    return not policy.reconnect and (isinstance(ending, Ended) or policy.attempts is None)


def _answer(ending: Ending) -> tuple[int | None, Mapping[str, str]]:
    return (ending.status, ending.headers) if isinstance(ending, Refused) else (None, {})
