"""Attack G02 (docs/reference/attacks.md): what clients can put into the metrics."""

from __future__ import annotations

from support.waiting import wait_until
from support.ways import Served


def series(hub: Served) -> set[str]:
    """Return the names of the series, with their labels."""
    lines = hub.ask("GET", "/metrics").body.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def ask_everything(hub: Served, name: str) -> None:
    """Put `name` wherever a client can say something."""
    hub.ask("POST", f"/events/{name}?event={name}", name, {"Idempotency-Key": name, "User-Agent": name})
    hub.ask("POST", f"/events/{name}?retry={name}", "x")
    hub.ask("DELETE", f"/events/{name}?reason={name}")
    hub.ask("GET", f"/{name}?{name}={name}")
    hub.ask("GET", f"/events/{name}?since={name}")
    hub.ask("PATCH", f"/events/{name}")
    hub.ask("POST", f"/events/{name}", "x", {"Origin": f"https://{name}"})
    with hub.listen(f"/events/g02-{name}", {"Last-Event-ID": name, "X-Forwarded-For": name}) as listener:
        assert listener.take(1)


def test_g02_names_of_clients_make_no_series(hub: Served) -> None:
    ask_everything(hub, "first")
    # The end of its stream is counted once the hub has noticed it.
    wait_until(lambda: 'tidewire_ended_streams_total{reason="lost"}' in series(hub))
    before = series(hub)
    for number in range(20):
        ask_everything(hub, f"secret{number}")
    assert series(hub) == before
    assert "secret" not in hub.ask("GET", "/metrics").body.decode()
