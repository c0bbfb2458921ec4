"""Subscribers with the Python client, each in its own thread."""

from __future__ import annotations

import threading

from faults.witness import Witness
from tidewire.client.sync import Opened, Policy, Stream, Wait, connect
from tidewire.errors import TidewireError


class ClientSubscriber:
    """One subscriber that uses `tidewire.client.sync.connect`."""

    def __init__(self, url: str, witness: Witness, policy: Policy) -> None:
        self.witness = witness
        self._stream: Stream = connect(url, topics=witness.topics, reconnect=policy, on_change=self._changed)
        self._thread = threading.Thread(target=self._run, name=witness.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stream.close()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            with self._stream as stream:
                for event in stream:
                    self.witness.event(event.id or "", event.event, event.data, event.topic)
        except TidewireError as error:
            self.witness.died(str(error))
        finally:
            self.witness.closed()

    def _changed(self, change: object) -> None:
        if isinstance(change, Opened):
            self.witness.opened(self._stream.last_event_id)
        elif isinstance(change, Wait):
            self.witness.closed()
            self.witness.connecting(later=change.seconds)
