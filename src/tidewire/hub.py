"""
`Hub`: the hub in a program.

    hub = Hub()
    app = FastAPI(lifespan=hub.lifespan)

    @app.get("/orders/{id}/events")
    async def events(request: Request, id: int):
        return hub.stream(request, f"orders/{id}")

    await hub.publish("orders/7", {"status": "paid"}, event="status")
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .auth.access import Access, Open
from .auth.by_callable import Authenticate, ByCallable
from .auth.grants import Grant
from .auth.revocations import kick_draft, subject_draft, token_draft
from .data import Encoder
from .delivery.local import Subscription
from .delivery.node import Node
from .delivery.open_streams import OpenStream
from .delivery.stream_lines import log_refused
from .delivery.topic_hooks import HookFunction, TopicHook
from .delivery.tracing import traced
from .errors import InvalidInput, StartRefused, TidewireError
from .http.admission import Admission
from .http.app import HubApp
from .http.asgi import address_in
from .http.hub_stream import HubStream, RefusedStream
from .http.origins import VARY_ORIGIN, Cors
from .http.requests import (
    MAX_HISTORY,
    Request,
    SubscribeRequest,
    read_claim,
    read_control,
    read_limit,
    read_since,
)
from .http.responses import NothingResponse
from .http.stream_topics import check_stream_topics, patterns_of
from .inspect.inspector import Inspector
from .items import Page, page_in
from .log.drafts import check_batch, check_data, check_key, draft, draft_of, end_draft
from .log.engine import Durability, Engine, Transactional
from .log.entries import Draft, Receipt, Since
from .log.runs import Run, record_name
from .metrics import Metrics
from .opening import Opening
from .position import Position
from .runs import dialects
from .runs.attaching import after_number, attach_at, read_starting_after, stream_at
from .runs.dialects import Dialect
from .runs.node_runs import NodeRuns
from .runs.producing import Producer
from .runs.text_stream import TextStream
from .settings import Settings
from .topics import Selector, check_publish_topic

if TYPE_CHECKING:
    from .auth.tokens import Tokens

T = TypeVar("T")

logger = logging.getLogger("tidewire")


class Hub:
    """
    A hub inside a program: a log, its subscribers, and an ASGI app for both.

    `url` names the engine: `memory`, `sqlite:///relative/path`,
    `sqlite:////absolute/path`, or the path of a log file such as `./log.db`.
    `per_process=True` allows each of several workers its own memory hub, whose
    subscribers then see only what that worker publishes. `allowed_origins`:
    origins whose pages may use `app`. `allowed_hosts`: the host names that `app`
    accepts; None if the program checks Host itself. `auth`: who may use `app`:
    `Tokens`, or a function that gets the ASGI scope of a request and returns a
    `Grant` or None; without it, everybody. `encoder`: called with each
    object in published data that JSON does not have; it returns what to write, or
    raises `TypeError` if it does not know the object. All other keywords are
    settings (docs/reference/settings.md).

    The hub opens in `lifespan`, or at first use if no lifespan runs, and belongs to that
    event loop until it is closed or the loop is; then another loop may use it. On another
    loop in the meantime, everything but `publish_soon` raises `StartRefused`. Raises
    `InvalidInput` if an engine or setting is unknown or a value is out of range.
    """

    def __init__(
        self,
        url: str = "memory",
        *,
        per_process: bool = False,
        allowed_origins: Iterable[str] = (),
        allowed_hosts: Iterable[str] | None = None,
        auth: Authenticate | Tokens | None = None,
        encoder: Encoder | None = None,
        **settings: float,
    ) -> None:
        self.url = url
        self.settings = Settings(**settings)
        self._encoder = encoder
        self._access = access_of(auth, self.settings.max_token_life)
        self._opening = Opening(url, self.settings, per_process)
        self._admission = Admission(self.settings, self.settings.max_streams or default_max_streams())
        inspector = Inspector(self, lambda: self._opening.sampler)
        self._app = HubApp(self, Cors(allowed_origins), self._admission, allowed_hosts, inspector)

    @property
    def app(self) -> HubApp:
        """The whole HTTP API, as an ASGI app to mount or serve."""
        return self._app

    @property
    def access(self) -> Access:
        """Who may use `app`."""
        return self._access

    @property
    def metrics(self) -> Metrics:
        """What the node counts; a new one starts from zero."""
        return self._opening.metrics

    @property
    def durability(self) -> Durability:
        """What an acknowledged publish survives: `memory`, `process`, `disk` or `quorum`."""
        return self._opening.engine.durability

    @property
    def failure(self) -> str:
        """
        Why nothing can be stored until the process restarts, or "" if all is well.

        A hub that has failed is not ready and refuses all publishes; `tidewire serve` stops.
        """
        return self._opening.engine.failure

    # -- opening and closing

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the hub while the program runs: `FastAPI(lifespan=hub.lifespan)`, or `async with`."""
        (await self.open()).tally.accept()
        try:
            yield
        finally:
            await self.close()

    @property
    def node(self) -> Node:
        """The open node of this process. Raises `StartRefused` if the hub is not open."""
        node = self._opening.node
        if node is None:
            raise StartRefused("the hub is not open: pass hub.lifespan to the program")
        return node

    async def open(self) -> Node:
        """
        Open the hub, if it is not open, and return its node. A hub that was drained opens again.

        Raises `StartRefused` if it cannot open, or is open on another event loop.
        """
        return await self._opening.reopen()

    async def opened(self) -> Node:
        """As `open`, but return a node that was drained as it is: for what may come while a process stops."""
        return await self._opening.open()

    async def drain(self) -> None:
        """
        End all streams cleanly: finish publishes, refuse new ones, close the engine.

        SIGTERM and SIGINT start it. Call it in a program that stops its server by
        other means. A program that goes on after it opens the hub again with `open`.
        """
        node = self._opening.here()
        if node is not None:
            await node.drain()

    async def close(self) -> None:
        """Drain, then release everything. The hub may be opened again, as a new one."""
        await self._opening.close()

    # -- publishing

    @overload
    async def publish(
        self,
        topic: str,
        data: Any = "",
        *,
        event: str = "message",
        retry: int | None = None,
        key: str | None = None,
        connection: None = None,
    ) -> Receipt: ...

    @overload
    async def publish(
        self,
        topic: str,
        data: Any = "",
        *,
        event: str = "message",
        retry: int | None = None,
        key: str | None = None,
        connection: object,
    ) -> None: ...

    async def publish(
        self,
        topic: str,
        data: Any = "",
        *,
        event: str = "message",
        retry: int | None = None,
        key: str | None = None,
        connection: object = None,
    ) -> Receipt | None:
        """
        Publish one event. Return its receipt once the event is in the log.

        `data`: `str`, UTF-8 `bytes`, or anything that can be written as JSON: also
        dataclasses, pydantic models, dates, UUIDs, `Decimal` (as text), sets, numpy's
        scalars and arrays, and what the hub's `encoder` knows. `retry`:
        milliseconds, 500 to 600,000. `key`: publishing again with the same key
        within 10 minutes returns the first receipt. `connection`: a connection or
        session of your program to the database of a PostgreSQL hub. Then the event
        is published when its transaction commits, and never if it does not; there is
        no receipt. Raises `InvalidInput`, `Reserved`, `TooLarge`, `TopicEnded`,
        `KeyConflict` or `Unavailable` if the event is refused, and with `connection`
        what its driver raises.
        """
        limit = self.settings.max_event
        item = draft(topic, data, event=event, retry=retry, key=key, max_event=limit, encoder=self._encoder)
        if connection is not None:
            await self.opened()
            await traced(partial(self._publish_in, connection), [item])
            return None
        receipts = await traced((await self.opened()).append, [item])
        return receipts[0]

    async def _publish_in(self, connection: object, drafts: Sequence[Draft]) -> list[Receipt]:
        for item in drafts:
            await transactional(self._opening.engine).publish_in(connection, item)
        return []

    async def publish_many(self, events: Iterable[Mapping[str, Any]]) -> list[Receipt]:
        """Publish all `events` or none. Each has topic and data, and may have event, retry and key."""
        events = check_batch(list(events), self.settings.max_batch)
        limit, encoder = self.settings.max_event, self._encoder
        drafts = [draft_of(item, max_event=limit, encoder=encoder) for item in events]
        return await traced((await self.opened()).append, drafts) if drafts else []

    @overload
    def publish_soon(
        self,
        topic: str,
        data: Any = "",
        *,
        event: str = "message",
        retry: int | None = None,
        key: str | None = None,
        connection: None = None,
    ) -> Future[Receipt]: ...

    @overload
    def publish_soon(
        self,
        topic: str,
        data: Any = "",
        *,
        event: str = "message",
        retry: int | None = None,
        key: str | None = None,
        connection: object,
    ) -> None: ...

    def publish_soon(
        self,
        topic: str,
        data: Any = "",
        *,
        event: str = "message",
        retry: int | None = None,
        key: str | None = None,
        connection: object = None,
    ) -> Future[Receipt] | None:
        """
        Publish from any thread or from sync code; return a future of the receipt.

        Events are stored in the order of the calls. Do not block the event loop by
        waiting for the future. `connection`: as for `publish`, such as Django's; then
        the event is in the transaction when this returns, and there is no future.
        Raises `StartRefused` if the hub is not open.
        """
        if connection is not None:
            limit, encoder = self.settings.max_event, self._encoder
            item = draft(topic, data, event=event, retry=retry, key=key, max_event=limit, encoder=encoder)
            transactional(self.node.engine).publish_now(connection, item)
            return None
        return self._soon(self.publish(topic, data, event=event, retry=retry, key=key))

    async def end(self, topic: str, reason: str = "ended") -> Receipt:
        """End a topic for good: its subscribers get `hub.end`, and publishes to it are refused."""
        item = end_draft(topic, reason, max_event=self.settings.max_event)
        receipts = await (await self.opened()).append([item])
        return receipts[0]

    # -- ending what is open

    async def kick(self, sub: str, *, iss: str | None = None, reason: str = "kicked") -> None:
        """
        End the open streams of a subject, on every node. It forbids nothing: clients may come back.

        `sub` and `iss` are those of the grant that a stream was given; without `iss`, any issuer's. Normal
        streams are told the `reason` by `hub.auth`. Returns once all nodes can learn of it; the streams
        of this process end within a second. Raises `InvalidInput`, and what `publish` raises.
        """
        await (await self.opened()).append([kick_draft(sub, iss, reason)])

    async def revoke(
        self,
        *,
        jti: str | None = None,
        sub: str | None = None,
        iss: str | None = None,
        until: float | None = None,
    ) -> None:
        """
        Refuse a token by its `jti`, or all that a subject was given until now, and end their streams.

        A token is refused until `until`, its `exp` in seconds since 1970; None: for `max_token_life`. A
        subject's grants with an `iat` of now or before, or without one, are refused for
        `max_token_life`; without `iss`, those of any issuer. Raises as `kick`.
        """
        now, lifetime = time.time(), self.settings.max_token_life
        if jti is not None and sub is None and iss is None:
            item = token_draft(jti, lifetime if until is None else until - now)
        elif jti is None and sub is not None and until is None:
            item = subject_draft(sub, iss, now, lifetime)
        else:
            raise InvalidInput(
                "revoke a token by jti (and until), or a subject by sub (and iss)", code="invalid_subject"
            )
        await (await self.opened()).append([item])

    # -- reading

    async def head(self) -> Position:
        """
        Return the newest position of the log.

        It lets you give a client a state and the events after it without a race:
        get the head first, then read the state, and have the client subscribe with
        `since=` that position.
        """
        node = await self.opened()
        return node.window.position(node.window.head)

    def subscribe(self, *topics: str, since: str | Position = "now") -> Subscription:
        """
        Return the stream of `topics` (or patterns) as an iterator: `async for`, or `for` in a thread.

        `since`: as for `stream`. It yields events, `Gap`s and `End`s. What its consumer has not taken yet
        stays in the log, not in a queue. It is a stream like any other: it counts as a subscriber, and a
        drain ends it. Raises `InvalidInput` if a topic or `since` is not valid.
        """
        selector = Selector(topics, limit=self.settings.max_topics)
        return Subscription(self.opened, self._loop, selector, read_since(str(since)))

    async def history(self, *topics: str, since: str | Position = "start", limit: int = MAX_HISTORY) -> Page:
        """
        Return a page of the log: up to `limit` events of `topics` (or patterns), at most 1,000.

        Pass its `next` as `since` to get the next page, or to subscribe. Raises `InvalidInput`, and
        `Unavailable` if the engine cannot be reached.
        """
        selector = Selector(topics, limit=self.settings.max_topics)
        claim = read_since(str(since))
        read_limit(str(limit))
        return page_in(await (await self.opened()).history(selector, claim, limit))

    def history_soon(
        self, *topics: str, since: str | Position = "start", limit: int = MAX_HISTORY
    ) -> Future[Page]:
        """As `history`, from any thread; return a future of the page, as `publish_soon` does of a receipt."""
        return self._soon(self.history(*topics, since=since, limit=limit))

    def _loop(self) -> asyncio.AbstractEventLoop:
        return self.node.loop

    def _soon(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop())
        except (StartRefused, RuntimeError) as error:
            work.close()
            if isinstance(error, StartRefused):
                raise
            raise StartRefused("the event loop of this hub has just been closed") from None

    def subscribers(self, topic: str) -> int:
        """
        Return how many streams match `topic`, in all processes with the same log file.

        Those of other processes are counted as of at most half a second ago.
        """
        node = self._opening.node
        return 0 if node is None else node.subscribers(topic)

    def streams(self) -> list[OpenStream]:
        """Return the streams of this process that are open: whose, from where, of what, and since when."""
        node = self._opening.node
        return [] if node is None else list(node.streams())

    # -- runs

    async def run(
        self,
        topic: str,
        producer: Producer,
        *,
        key: str,
        dialect: Dialect | None = None,
        replace: bool = False,
        cancel_when_unwatched: float | None = None,
    ) -> Run:
        """
        Start a run: a producer whose output goes to `topic`, and which goes on when its clients leave.

        `producer` is a function that returns an async or a sync generator, which runs in a thread; only the
        process that starts the run calls it. With the `key` of a run of the topic that is open or was over
        less than a day ago, that run is returned and nothing starts. While a run with another key is open,
        `RunConflict` (`run_active`) is raised, or with `replace=True` that run is cancelled. `dialect`: the
        protocol of the client, such as `tidewire.runs.dialects.ai_sdk`; without it the producer yields
        `Event`, `str` or `dict` with data and event. `cancel_when_unwatched`: seconds without any stream of
        the topic after which the run is cancelled. Raises what `publish` raises.
        """
        check_publish_topic(topic)
        runs = await self._open_runs()
        return await runs.start(
            topic,
            producer,
            check_key(key),
            dialect or dialects.events,
            replace=replace,
            unwatched=cancel_when_unwatched,
            encoder=self._encoder,
        )

    def stream_run(
        self, request: Any, run: Run, *, grant: Grant | None = None
    ) -> HubStream | NothingResponse:
        """
        Return the response that streams a run to the client of `request`, from the run's first event.

        It is a plain stream, and only the end of the run ends it properly. A client that brings a position
        inside the run goes on from there. If the beginning is no longer kept, the response is 410.
        `grant`: as for `stream`.
        """
        window = self.node.window
        return self._stream_of(request, run, grant, lambda claim: stream_at(run, claim, window))

    async def attach(
        self, request: Any, topic: str, *, grant: Grant | None = None
    ) -> HubStream | NothingResponse:
        """
        Return the response that streams the open run of a topic, from its start or where the client was.

        It is 204 if no run is open, unless the client brings a position inside the newest run and has not
        read it to the end. `starting_after` in the query of a run in `openai_responses` is such a position:
        the `sequence_number` of the last event that the client has. Otherwise as `stream_run`.
        """
        try:
            run = await (await self._open_runs()).newest(topic)
        except TidewireError as error:
            return self._refused_stream(error)
        if run is None:
            return NothingResponse()
        window = self.node.window
        at: Position | None = None
        if run.dialect == dialects.openai_responses.name:
            try:
                number = read_starting_after(Request(getattr(request, "scope", request)))
                at = None if number is None else await after_number(self.node, run, number)
            except TidewireError as error:
                return self._refused_stream(error)
        return self._stream_of(request, run, grant, lambda claim: attach_at(run, at or claim, window))

    def _stream_of(
        self, request: Any, run: Run, grant: Grant | None, begin: Callable[[Since | Position], int | None]
    ) -> HubStream | NothingResponse:
        try:
            read = Request(getattr(request, "scope", request))
            after = begin(read_claim(read, "now", query=False))
        except TidewireError as error:
            return self._refused_stream(error)
        if after is None:
            return NothingResponse()
        selector, at = Selector([run.topic]), self.node.window.position(after)
        wanted = SubscribeRequest(selector, at, False, True, record_name(run.topic, run.key))
        headers = VARY_ORIGIN + dialects.dialect_of(run).headers
        heartbeat = self.settings.heartbeat
        parts = (self.opened, self._admission, headers, read, wanted, heartbeat)
        if run.dialect == dialects.plain_text.name:
            records = self.node.window.records
            return TextStream(lambda: records.run(run.topic, run.key), *parts, grant=grant)
        return HubStream(*parts, grant=grant)

    def _refused_stream(self, error: TidewireError) -> RefusedStream:
        self.metrics.refused.labels(error.code).inc()
        return RefusedStream(error)

    async def cancel(self, topic: str, *, reason: str = "") -> Run | None:
        """
        Cancel the open run of a topic, whichever process makes it. Return the topic's newest run, if any.

        Its streams end at once. Its producer gets `CancelledError`, and is abandoned if it does not end
        within 5 seconds. Nothing that it yields after this is stored. Raises what `publish` raises.
        """
        check_data(reason, self.settings.max_event)
        return await (await self._open_runs()).cancel(topic, reason)

    async def runs(self) -> list[Run]:
        """Return the runs that are open, and those that ended within the last day, of all processes."""
        return await (await self._open_runs()).all()

    async def _open_runs(self) -> NodeRuns:
        await self.opened()
        runs = self._opening.runs
        assert runs is not None
        return runs

    # -- streams

    def on_first(self, term: str) -> Callable[[HookFunction], HookFunction]:
        """
        Call the decorated function with the topic when its first subscriber arrives.

        `term` is a topic or a pattern. For a topic, every stream that matches it
        counts; for a pattern, only streams that name one of its topics. The
        function may be async. Exceptions that it raises are logged.

        The streams of all processes with the same log file count. The function runs in the process
        whose stream is the first; in two, if streams come or go in both within 0.2 seconds.
        """
        return lambda function: self._add_hook(TopicHook(term, function, None), function)

    def on_last(self, term: str) -> Callable[[HookFunction], HookFunction]:
        """
        Call the decorated function with the topic when its last subscriber has gone.

        It runs in the process whose stream was the last, and in another one if that process died.
        """
        return lambda function: self._add_hook(TopicHook(term, None, function), function)

    def _add_hook(self, hook: TopicHook, function: HookFunction) -> HookFunction:
        self._opening.hooks.append(hook)
        if self._opening.node is not None:
            self._opening.node.add_hook(hook)
        return function

    def stream(
        self,
        request: Any,
        *topics: str,
        patterns: Iterable[str] = (),
        since: str | None = None,
        control: bool = True,
        grant: Grant | None = None,
    ) -> HubStream:
        """
        Return the response that streams `topics`, and what matches `patterns`, to the client of `request`.

        `request` is the framework's request or the ASGI scope. A topic may have a part that
        the client chose: it never becomes a pattern. If it is not a valid topic, the
        response is 404 (`no_such_topic`) and one line is logged. The stream resumes
        at the client's `Last-Event-ID` or `last_event_id=`; without them it starts
        at `since`: `now`, `start`, a position, `last:N`, a duration such as `10m`,
        or an ISO 8601 time. With `control=False` it is a plain stream: no `hub.*`
        events, 410 for a position that cannot be continued, and only the end of its
        topics ends it properly; anything else cuts the connection. `grant` says whose
        stream it is and until when; what may be streamed to them is for the program to check.
        The response is an ASGI callable, and a Starlette response if Starlette is installed.
        """
        scope = getattr(request, "scope", request)
        try:
            read = Request(scope)
            check_stream_topics(topics, "hub.stream")
            selector = Selector(
                [*topics, *patterns_of(patterns, "hub.stream")], limit=self.settings.max_topics
            )
            claim = read_claim(read, since or "now", query=False)
            asked = read_control(read)
            wanted = SubscribeRequest(selector, claim, asked == "open", asked == "none" or not control)
        except TidewireError as error:
            self.metrics.refused.labels(error.code).inc()
            log_refused(error.code, grant, address_in(scope), len(topics))
            return RefusedStream(error)
        heartbeat = self.settings.heartbeat
        return HubStream(self.opened, self._admission, VARY_ORIGIN, read, wanted, heartbeat, grant=grant)


def access_of(auth: Authenticate | Tokens | None, max_token_life: float) -> Access:
    if auth is None:
        return Open()
    if callable(auth):
        return ByCallable(auth)
    auth.limit_life(max_token_life)
    return auth


def default_max_streams() -> int:
    """Return 80 % of the descriptors that this process may have; the rest are for publishers and files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 100_000
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 100_000 if soft == resource.RLIM_INFINITY else soft * 4 // 5


def transactional(engine: Engine) -> Transactional:
    if isinstance(engine, Transactional):
        return engine
    raise InvalidInput(
        'connection= needs a hub with its log in PostgreSQL, such as Hub("postgresql://…"): only there is an'
        " event stored in the transaction of your data",
        code="invalid_connection",
    )
