"""Requests that Schemathesis makes from the description of the API: no 500, every answer is as described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from support.tokens import SECRET, bearer, token
from support.ways import Served, served, tracebacks
from tidewire.http.openapi import description
from tidewire.settings import Settings

schemathesis = pytest.importorskip("schemathesis")
requests = pytest.importorskip("requests")

# Requests of each kind for each route, on a hub without keys and on one with them.
EXAMPLES = {"open": 20, "locked": 5}
# For the one with keys.
ADMIN = bearer(token(subscribe=["**"], publish=["**"], admin=True))
# So that none of them refuses.
LIMITS = {"stream_rate": 0.0, "max_streams_per_address": 0}
OF_SUBJECTS = {"max_streams_per_subject": 0, "max_tickets_per_subject": 0}

SCHEMA = schemathesis.openapi.from_dict(description(Settings(), ""))
ROUTES = [operation.ok() for operation in SCHEMA.get_all_operations()]
KEEPS, BREAKS = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
# What says nothing of parameters or a body cannot be broken.
BREAKABLE = [route for route in ROUTES if route.query or route.body]
CASES = [(route, KEEPS) for route in ROUTES] + [(route, BREAKS) for route in BREAKABLE]
CHECKS = [
    schemathesis.checks.not_a_server_error,
    *map(
        schemathesis.checks.CHECKS.get_one,
        ("status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    ),
]


class FirstBytes(requests.Session):
    """Reads what comes first of a stream, which has no end, and closes it."""

    def send(self, request: Any, **options: Any) -> Any:
        response = super().send(request, **{**options, "stream": True})
        if response.headers.get("content-type") == "text/event-stream":
            response._content = next(response.iter_content(None), b"")
            response.close()
        return response


@pytest.fixture(scope="module", params=EXAMPLES)
def lock(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def hub(lock: str) -> Iterator[Served]:
    locked = {"keys": [SECRET], "hub": {**LIMITS, **OF_SUBJECTS}}
    app, options = ("served_hub:app", LIMITS) if lock == "open" else ("locked_hub:app", locked)
    with served("takeover", app, **options) as running:
        yield running
        assert running.ask("GET", "/health/ready").status == 200
    assert tracebacks(running.process.output) == 0
    assert "ERROR" not in running.process.output


@pytest.mark.parametrize(
    ("route", "kind"), CASES, ids=[f"{route.label} {kind.value}" for route, kind in CASES]
)
def test_answers_are_as_described(hub: Served, lock: str, route: Any, kind: Any) -> None:
    """`kind` says whether the requests keep to the description, or break it on purpose."""

    @seed(20261126)
    @settings(
        max_examples=EXAMPLES[lock],
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=route.as_strategy(generation_mode=kind))
    def check(case: Any) -> None:
        with FirstBytes() as session:
            if lock == "locked":
                session.headers.update(ADMIN)
            case.call_and_validate(f"http://127.0.0.1:{hub.port}", session=session, checks=CHECKS)

    check()
