"""
A hub beside a Flask program. `tidewire serve --port 8080`, and in another terminal
`gunicorn --threads 8 examples.frameworks.flask_orders:app`
"""

import time
from collections.abc import Iterator

from flask import Flask, Response, request

from tidewire import Event, encode
from tidewire.integrations.flask import install, publish, stream

app = Flask(__name__)
app.config["TIDEWIRE"] = {"url": "http://127.0.0.1:8080"}
app.config.from_prefixed_env()  # FLASK_TIDEWIRE__url names another hub
install(app)


@app.get("/orders/<id>/events")
def events(id: str) -> Response:
    return stream(request, f"orders/{id}")


@app.post("/orders/<id>/pay")
def pay(id: str) -> tuple[str, int]:
    publish(f"orders/{id}", {"status": "paid"}, event="status")
    return "", 204


@app.get("/clock")
def clock() -> Response:
    """A short stream, which keeps one thread of the server busy for two seconds."""

    def ticks() -> Iterator[bytes]:
        for _ in range(3):
            yield encode(Event(time.ctime(), event="tick"))
            time.sleep(1)

    return Response(ticks(), content_type="text/event-stream", headers={"Cache-Control": "no-store"})
