"""Sentry gets what a generator raises. Its SDK changes the whole process, so it has one of its own."""

from __future__ import annotations

import json
import os
import sys

import pytest

from support.processes import Process

PROGRAM = """
import asyncio, json, sys
import sentry_sdk
from tidewire import EventStreamResponse

class Printed(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope):
        event = envelope.get_event()
        if event is not None:
            print(json.dumps(event["exception"]["values"]), flush=True)

sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=Printed, auto_enabling_integrations=False)

async def in_async():
    yield "first"
    raise ValueError("of the program")

def in_sync():
    yield "first"
    raise ValueError("of the program")

async def main(generator):
    async def send(message):
        pass
    scope = dict(type="http", method="GET", path="/clock", http_version="1.1", headers=[], query_string=b"")
    try:
        await EventStreamResponse(generator())(scope, asyncio.Event().wait, send)
    except Exception as cut:  # how a stream is cut where the server is not ours
        print(type(cut).__name__)

asyncio.run(main(globals()[sys.argv[1]]))
"""


@pytest.mark.parametrize("generator", ["in_async", "in_sync"])
def test_an_exception_in_a_generator_reaches_sentry_as_itself(generator: str) -> None:
    pytest.importorskip("sentry_sdk")
    env = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with Process([sys.executable, "-c", PROGRAM, generator], env=env) as process:
        assert process.wait() == 0, process.output
        (reported,) = [json.loads(line) for line in process.output.splitlines() if line.startswith("[")]
    (exception,) = reported
    assert (exception["type"], exception["value"]) == ("ValueError", "of the program")
    assert exception["stacktrace"]["frames"][-1]["function"] == generator
