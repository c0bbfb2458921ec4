"""
A program with OpenTelemetry's own SDK: it publishes in every way and prints what was recorded, as JSON.

With the word `off` it does not set OpenTelemetry up.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tidewire import Hub
from tidewire.testing import client

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}

exporter = InMemorySpanExporter()
if "off" not in sys.argv:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


async def main() -> dict[str, Any]:
    hub = Hub(per_process=True)
    found: dict[str, Any] = {}
    async with client(hub.app) as http, http.sse("/events/a") as events:

        async def publish(name: str, work: Any) -> None:
            exporter.clear()
            await work
            event = await events.next()
            spans = [describe(span) for span in exporter.get_finished_spans()]
            found[name] = {"carried": event.traceparent, "spans": spans}

        await publish("library", hub.publish("a", "x"))
        await publish("batch", hub.publish_many([{"topic": "a", "data": "x"}, {"topic": "b", "data": "y"}]))
        with trace.get_tracer("test").start_as_current_span("outer") as outer:
            await publish("within a span", hub.publish("a", "x"))
        found["outer"] = trace.format_trace_id(outer.get_span_context().trace_id)
        sent = {"traceparent": PARENT}
        await publish("http", http.post("/events/a", content="x", headers=sent))
        line = json.dumps({"topic": "a", "data": "x"})
        await publish("json", http.post("/events", content=line, headers={**sent, **JSON}))
        await publish("lines", http.post("/events", content=line, headers={**sent, **NDJSON}))
        await publish("bad", http.post("/events/a", content="x", headers={"traceparent": "x\x7fy"}))
        exporter.clear()
    found["open streams"] = [describe(span) for span in exporter.get_finished_spans()]
    return found


def describe(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace": trace.format_trace_id(span.context.trace_id),
        "span": trace.format_span_id(span.context.span_id),
        "parent": None if span.parent is None else trace.format_span_id(span.parent.span_id),
        "attributes": dict(span.attributes),
        "seconds": (span.end_time - span.start_time) / 1e9,
    }


print(json.dumps(asyncio.run(main())))
