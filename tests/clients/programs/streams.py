"""
SSE clients of others for Python: `streams.py NAME` reads streams and prints what it gets.

Each line of its stdin is the URL of a stream. They are read at the same time, each in a thread of its own.

Each line that it prints is a JSON object: {"event", "id", "data"} is what the client gave its program, and
{"over", "why"} is the last line: `end` if the reading ended as if all had been read, else `error`. "number"
says which URL it was, from 0.
"""

import asyncio
import json
import sys
from threading import Lock, Thread

one_line = Lock()


def httpx_sse(url, show):
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client(timeout=None) as client, connect_sse(client, "GET", url) as source:
        source.response.raise_for_status()
        for event in source.iter_sse():
            show(event=event.event, id=event.id, data=event.data)


def httpx2(url, show):
    import httpx2

    with httpx2.Client(timeout=None) as client, client.sse(url) as source:
        source.response.raise_for_status()
        for event in source:
            show(event=event.event, id=event.id, data=event.data)


def sseclient_py(url, show):
    import urllib3
    from sseclient import SSEClient

    response = urllib3.PoolManager().request(
        "GET", url, preload_content=False, headers={"Accept": "text/event-stream"}
    )
    if response.status != 200:
        raise RuntimeError(f"status {response.status}")
    # Its `stream` waits for a full buffer: `read1` returns what there is.
    for event in SSEClient(iter(response.read1, b"")).events():
        show(event=event.event, id=event.id, data=event.data)


def aiohttp_sse_client(url, show):
    from aiohttp_sse_client.client import EventSource

    async def read():
        async with EventSource(url, timeout=None) as source:
            async for event in source:
                show(event=event.type, id=event.last_event_id, data=event.data)

    asyncio.run(read())


def ld_eventsource(url, show):
    from ld_eventsource import SSEClient
    from ld_eventsource.config import ErrorStrategy
    from ld_eventsource.errors import HTTPContentTypeError, HTTPStatusError

    def judge(error):
        stop = isinstance(error, (HTTPStatusError, HTTPContentTypeError))
        return (ErrorStrategy.FAIL if stop else ErrorStrategy.CONTINUE), None

    with SSEClient(url, initial_retry_delay=0.5, error_strategy=ErrorStrategy.from_lambda(judge)) as client:
        for event in client.events:
            show(event=event.event, id=event.last_event_id, data=event.data)


def langgraph_sdk(url, show):
    from langgraph_sdk import get_sync_client

    base, _, path = url.partition("/hub")
    for part in get_sync_client(url=base, api_key=None).http.stream(f"/hub{path}", "GET"):
        show(event=part.event or "message", id=part.id, data=json.dumps(part.data))


READERS = {
    "httpx-sse": httpx_sse,
    "httpx2": httpx2,
    "sseclient-py": sseclient_py,
    "aiohttp-sse-client": aiohttp_sse_client,
    "launchdarkly-eventsource": ld_eventsource,
    "langgraph-sdk": langgraph_sdk,
}


def follow(number, url):
    def show(**line):
        with one_line:
            print(json.dumps({"number": number, **line}), flush=True)

    try:
        READERS[sys.argv[1]](url, show)
        show(over="end", why="")
    except Exception as error:
        show(over="error", why=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    for number, url in enumerate(sys.stdin):
        Thread(target=follow, args=(number, url.strip()), daemon=True).start()
