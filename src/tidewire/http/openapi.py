"""
What the hub serves, as an OpenAPI description: `GET /openapi.json`.

A route that app.py serves is described here; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from tidewire import __version__

from ..log.drafts import MAX_KEY
from ..log.runs import CANCELLED, DONE, FAILED, LOST, RUNNING
from ..settings import Settings
from .managing import MOST_RUNS
from .requests import LAST_EVENT_ID_PARAMETERS, MAX_HISTORY

Json = dict[str, Any]

PROBLEM = "application/problem+json"

# Why a request is refused, by status. The table in docs/reference/http.md has all codes.
REASONS = {
    400: "The request breaks a rule; `code` says which.",
    401: "A valid token is needed.",
    403: "The token does not allow this, the name belongs to the hub, or a page of another origin asks.",
    404: "This hub takes no tokens, so it has no sessions; or the run, stream or event is not known.",
    406: "The client accepts neither an event stream nor JSON.",
    408: "The request took too long.",
    409: "The topic has ended.",
    410: "A plain stream cannot be continued from the position brought.",
    413: "The body or the event is too large.",
    414: "The URL is too long.",
    415: "The body is compressed, or neither JSON nor lines of it.",
    421: "The hub does not answer to this host name.",
    422: "The key was used for another event.",
    429: "A limit is reached; try again later.",
    431: "The head of the request is too large.",
    503: "Not now; try again later.",
    507: "The disk of the log is full.",
}

# What any request may get: from the server for bad HTTP, from the hub for its host and origin.
ALWAYS = (400, 403, 408, 414, 421, 431)
SUBSCRIBING = (401, 406, 410, 429, 503)
PUBLISHING = (401, 409, 413, 422, 429, 503, 507)


def description(settings: Settings, mounted_at: str) -> Json:
    """Return the description of a hub with `settings`, at the path `mounted_at`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidewire",
            "version": __version__,
            "description": "A hub for Server-Sent Events. A GET is answered to HEAD, too, without its body.",
        },
        "servers": [{"url": mounted_at or "/"}],
        # A hub without keys asks for no token.
        "security": [{}, {"bearer": []}],
        "paths": paths(settings),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": schemas(settings),
        },
    }


# -- the routes


def paths(settings: Settings) -> Json:
    topic = {"name": "topic", "in": "path", "required": True, "schema": ref("Topic")}
    return {
        "/events": {
            "get": subscribe(
                "Subscribe to topics and patterns, or get a page of their history.", [topics(settings)]
            ),
            "post": publish_json(),
            "delete": end([parameter("topic", "The topic to end.", ref("Topic"), required=True)]),
        },
        "/events/{topic}": {
            "get": subscribe("Subscribe to a topic, or get a page of its history.", [topic]),
            "post": publish([topic]),
            "delete": end([topic]),
        },
        "/session": {"post": begin_session(), "delete": end_session()},
        "/tickets": {
            "post": get("Get a ticket for one stream of this token.", "Ticket", 401, 413, 429, 503, 507)
        },
        "/revocations": {"post": revoke()},
        "/runs": {
            "get": get("List the runs that are open, and those that are over. For admins.", "Runs", 401, 503),
            "delete": cancel_run(),
        },
        "/streams": {"get": get("List the open streams of this process. For admins.", "Streams", 401, 503)},
        **inspector(),
        "/metrics": {
            "get": operation(
                "Metrics for Prometheus. For clients on the same machine, and for admins.",
                {200: text("text/plain"), **refusals(401, 503)},
            )
        },
        "/health/live": {"get": get("Whether the process lives.", "Status")},
        "/health/ready": {
            "get": operation(
                "Whether the hub accepts publishes.",
                {
                    200: content("Ready.", "Status"),
                    503: content("Draining, or the engine is down.", "Status"),
                    **refusals(),
                },
            )
        },
        "/tidewire.js": {
            "get": operation("The browser client.", {200: text("text/javascript"), **refusals()}),
        },
        "/openapi.json": {
            "get": operation(
                "This description.",
                {
                    200: {
                        "description": "OpenAPI 3.1.",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    },
                    **refusals(),
                },
            ),
        },
    }


def subscribe(summary: str, parameters: list[Json]) -> Json:
    wanted = [
        *parameters,
        parameter(
            "since", "Where to begin: `now`, `start`, a position, `last:N`, `10m` or an ISO 8601 time."
        ),
        parameter(
            "control",
            "`open` asks for a `hub.open` event, `none` for a plain stream.",
            one_of("open", "none"),
        ),
        parameter("limit", "The most events of a page.", whole(1, MAX_HISTORY)),
        *(parameter(name, "As `Last-Event-ID`.") for name in LAST_EVENT_ID_PARAMETERS),
        header("Last-Event-ID", "Go on after this position."),
        parameter("ticket", "A ticket, for a client that cannot send `Authorization`."),
        header("Tidewire-Client", "Any value: a refusal that may pass gets its own status."),
    ]
    found = {
        "description": "The stream; or a page, for a client that accepts `application/json` only.",
        "headers": {
            "Tidewire-Heartbeat": {
                "description": "The longest silence of the stream, in seconds.",
                "schema": {"type": "string"},
            },
            "Tidewire-Position": {
                "description": "Where a plain stream starts.",
                "schema": {"type": "string"},
            },
        },
        "content": {
            "text/event-stream": {"schema": {"type": "string"}},
            "application/json": {"schema": ref("Page")},
        },
    }
    gone = {"description": "Every topic has ended and nothing is left to tell."}
    return operation(summary, {200: found, 204: gone, **refusals(*SUBSCRIBING)}, wanted)


def publish(parameters: list[Json]) -> Json:
    wanted = [
        *parameters,
        parameter("event", "The type of the event."),
        parameter("retry", "How long browsers wait before they reconnect, in milliseconds.", RETRY),
        header("Event-Type", "The type, if it is not in the query."),
        KEY,
        TRACE,
    ]
    return {
        **operation(
            "Publish the body as the data of one event.",
            {200: content("The event is in the log.", "Receipt"), **refusals(*PUBLISHING, 415)},
            wanted,
        ),
        "requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}, "*/*": {}}},
    }


def publish_json() -> Json:
    events = {"oneOf": [ref("Event"), {"type": "array", "items": ref("Event")}]}
    receipts = {"oneOf": [ref("Receipt"), {"type": "array", "items": ref("Receipt")}]}
    wanted = [
        parameter(
            "topic", "With it the body is the data of one event, as for `/events/{topic}`.", ref("Topic")
        ),
        parameter("receipts", "`each`: a receipt for each line of a stream of lines.", one_of("each")),
        KEY,
        TRACE,
    ]
    stored = {
        "description": "The events are in the log. For a stream of lines: receipts, one line per commit.",
        "content": {
            "application/json": {"schema": receipts},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
    return {
        **operation(
            "Publish an event, an atomic batch (an array), or a stream of lines.",
            {200: stored, **refusals(*PUBLISHING, 415)},
            wanted,
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": events},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
    }


def end(parameters: list[Json]) -> Json:
    return operation(
        "End a topic for good.",
        {200: content("The topic has ended.", "Receipt"), **refusals(*PUBLISHING)},
        [*parameters, parameter("reason", "What `hub.end` says; `ended` by default.")],
    )


def begin_session() -> Json:
    cookie = {"description": "The session, until the token ends.", "schema": {"type": "string"}}
    return operation(
        "Keep the token of `Authorization` in a cookie, for pages of the same origin.",
        {
            204: {"description": "The cookie is set.", "headers": {"Set-Cookie": cookie}},
            **refusals(401, 404, 503),
        },
    )


def end_session() -> Json:
    return operation(
        "Log out: remove the cookie, refuse its token and end the streams of its bearer.",
        {204: {"description": "There is no session now."}, **refusals(404, 429, 503, 507)},
    )


def revoke() -> Json:
    return {
        **operation(
            "Refuse a token, or all that a subject was given until now, and end their streams. For admins.",
            {204: {"description": "The log has it."}, **refusals(401, 413, 429, 503, 507)},
        ),
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("Revocation")}}},
    }


def cancel_run() -> Json:
    return operation(
        "Cancel the open run of a topic. For admins.",
        {200: content("The newest run of the topic.", "Run"), **refusals(401, 404, 413, 503, 507)},
        [
            parameter("topic", "The topic.", ref("Topic"), required=True),
            parameter("reason", "What is kept with the run, and told to its streams."),
        ],
    )


def inspector() -> Json:
    """Describe what is below `/inspect`. The values may change between minor versions."""
    find, most = parameter("q", "Text to look for."), parameter("limit", "The most items.", whole(1, 1_000))
    topic = parameter("topic", "A topic.", ref("Topic"))
    sort, state = parameter("sort", "The order."), parameter("state", "`open`, `slow` or `ended`.")
    live = {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    number = {"name": "stream", "in": "path", "required": True, "schema": {"type": "integer"}}
    return {
        "/inspect": {
            "get": operation(
                "The page of the inspector. For clients on the same machine, and for admins.",
                {200: text("text/html"), **refusals(401)},
            )
        },
        "/inspect/stream": {
            "get": operation(
                "The overview, once a second, and a view. For admins.",
                {200: live, **refusals(401, 503)},
                [
                    parameter(
                        "view", "What to send besides.", one_of("topics", "topic", "streams", "stream")
                    ),
                    parameter("stream", "The number of a stream."),
                    *(find, topic, state, sort, most),
                ],
            )
        },
        "/inspect/overview": seen(
            "What the process does, and did.", parameter("span", "How long.", one_of("minute", "hour", "day"))
        ),
        "/inspect/topics": seen("Topics.", find, sort, most),
        "/inspect/topic": seen("A topic and its last events.", {**topic, "required": True}, most),
        "/inspect/streams": seen("Streams, open or ended.", find, topic, state, sort, most),
        "/inspect/streams/{stream}": {
            **seen("A stream and its timeline.", number, missing=True),
            "delete": operation(
                "End a stream. For admins.",
                {204: {"description": "It has ended."}, **refusals(401, 404, 413, 503)},
                [number, parameter("reason", "What its client is told.")],
            ),
        },
        "/inspect/event": seen(
            "An event, and which streams it was written to.",
            parameter("id", "Its id.", required=True),
            parameter("outcome", "Only streams with this outcome."),
            most,
            missing=True,
        ),
    }


def seen(summary: str, *parameters: Json, missing: bool = False) -> Json:
    found = {200: content("The answer.", "Inspection"), **refusals(401, *([404] if missing else []), 503)}
    return {"get": operation(f"{summary} For admins.", found, list(parameters))}


# -- the values


def schemas(settings: Settings) -> Json:
    position: Json = {"type": "string", "examples": ["q7Zp2K.42"]}
    nullable: Json = {"type": ["string", "null"]}
    return {
        "Topic": {"type": "string", "minLength": 1, "maxLength": 512, "examples": ["orders/7"]},
        "Event": closed(
            ["topic"],
            topic=ref("Topic"),
            data={"description": "Text, or any JSON, which is stored as its text."},
            event={"type": ["string", "null"], "maxLength": 512},
            retry={**RETRY, "type": ["integer", "null"]},
            key={"type": ["string", "null"], "minLength": 1, "maxLength": MAX_KEY},
        ),
        "Receipt": closed(
            ["id", "duplicate", "durability"],
            id=position,
            duplicate={"type": "boolean"},
            durability=one_of("memory", "process", "disk", "quorum"),
        ),
        "Page": closed(
            ["events", "next", "head", "more", "ended", "gap"],
            events={"type": "array", "maxItems": MAX_HISTORY, "items": ref("StoredEvent")},
            next=position,
            head=position,
            more={"type": "boolean"},
            ended={"type": "boolean"},
            gap={"type": ["object", "null"]},
        ),
        "StoredEvent": closed(
            ["id", "topic", "event", "data"],
            id=position,
            topic={"type": "string"},
            event={"type": "string"},
            data={"type": "string"},
        ),
        "Ticket": closed(
            ["ticket", "expires_in"],
            ticket={"type": "string"},
            expires_in={"type": "integer", "description": "Seconds."},
        ),
        "Revocation": closed(
            [],
            jti=nullable,
            sub=nullable,
            iss=nullable,
            until={"type": ["number", "null"], "description": "The `exp` of the token."},
        ),
        "Streams": closed(["streams"], streams={"type": "array", "items": ref("Stream")}),
        "Stream": closed(
            ["sub", "iss", "address", "topics", "position", "since"],
            sub=nullable,
            iss=nullable,
            address=nullable,
            topics={"type": "array", "maxItems": settings.max_topics, "items": {"type": "string"}},
            position=nullable,
            since={"type": "string", "format": "date-time"},
        ),
        "Runs": closed(["runs"], runs={"type": "array", "maxItems": MOST_RUNS, "items": ref("Run")}),
        "Run": closed(
            ["topic", "key", "run", "state", "reason", "dialect", "started", "stopped"],
            topic={"type": "string"},
            key={"type": "string"},
            run={"type": "string"},
            state=one_of(RUNNING, DONE, FAILED, CANCELLED, LOST),
            reason=nullable,
            dialect=nullable,
            started={"type": "string", "format": "date-time"},
            stopped={"type": ["string", "null"], "format": "date-time"},
        ),
        "Inspection": {"type": "object", "description": "See docs/reference/inspector.md."},
        "Status": closed(["status"], status={"type": "string"}),
        "Problem": {
            "type": "object",
            "description": "RFC 9457. Some codes have further members.",
            "required": ["type", "title", "status", "code", "detail"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "code": {"type": "string"},
                "detail": {"type": "string"},
                "stored": {
                    "description": "Of a publish: whether it is in the log.",
                    "enum": [False, "unknown"],
                },
            },
        },
    }


# -- words


RETRY: Json = {"type": "integer", "minimum": 500, "maximum": 600_000}


def operation(summary: str, responses: dict[int, Json], parameters: list[Json] | None = None) -> Json:
    numbered = {str(status): responses[status] for status in sorted(responses)}
    return {"summary": summary, "parameters": parameters or [], "responses": numbered}


def get(summary: str, schema: str, *statuses: int) -> Json:
    return operation(summary, {200: content("The answer.", schema), **refusals(*statuses)})


def refusals(*statuses: int) -> dict[int, Json]:
    problem = {PROBLEM: {"schema": ref("Problem")}}
    return {status: {"description": REASONS[status], "content": problem} for status in (*ALWAYS, *statuses)}


def content(text: str, schema: str) -> Json:
    return {"description": text, "content": {"application/json": {"schema": ref(schema)}}}


def text(kind: str) -> Json:
    return {"description": "The text.", "content": {kind: {"schema": {"type": "string"}}}}


def parameter(name: str, text: str, schema: Json | None = None, *, required: bool = False) -> Json:
    found: Json = {"name": name, "in": "query", "description": text, "schema": schema or {"type": "string"}}
    return {**found, "required": True} if required else found


def header(name: str, text: str) -> Json:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}


def topics(settings: Settings) -> Json:
    schema = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": settings.max_topics}
    return parameter("topic", "A topic or pattern; repeatable.", schema, required=True)


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def one_of(*values: str) -> Json:
    return {"enum": list(values)}


def whole(minimum: int, maximum: int) -> Json:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def closed(required: list[str], **properties: Json) -> Json:
    """Return an object that has no other properties."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


TRACE = header("traceparent", "The trace that the publish belongs to (W3C Trace Context).")
KEY = header("Idempotency-Key", "The same key for the same topic within ten minutes is stored once.")
