"""What is compared: each system's name in the table and the command that starts it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.servers import nchan


@dataclass(frozen=True)
class System:
    name: str
    command: str
    ndjson: bool = False  # accepts many events in one request body
    resumes: bool = False  # replays to a client that reconnects with Last-Event-ID
    slow: bool = False  # takes seconds where others take tenths: fewer rounds are enough
    needs: str = ""  # the package that it needs, if that is not a dependency of ours

    @property
    def installed(self) -> bool:
        if self.needs == "nchan":
            return nchan.find() is not None
        return not self.needs or find_spec(self.needs) is not None


def uvicorn(app: str, http: str = "httptools") -> str:
    options = f"--port {{port}} --loop uvloop --http {http} --no-access-log --log-level warning"
    return f"{{python}} -m uvicorn {options} benchmarks.servers.{app}"


OUR_PROTOCOL = "tidewire.server.protocol:StreamProtocol"
SERVE = "{scripts}/tidewire serve --engine memory --port {port}"
SERVE_DISK = "{scripts}/tidewire serve --engine sqlite:///{folder}/log.db --port {port}"

FLOOR = System("floor", "{python} -m benchmarks.servers.floor {port}")
TAKEOVER = System("takeover", SERVE, ndjson=True, resumes=True)
PORTABLE = System("portable", uvicorn("hub:app"), ndjson=True, resumes=True)
NCHAN = System("Nchan", "{python} -m benchmarks.servers.nchan {port}", resumes=True, needs="nchan")
SSE_STARLETTE = System("sse-starlette", uvicorn("sse_starlette_queue:app"), needs="sse_starlette")
FASTAPI = System("FastAPI", uvicorn("fastapi_sse:app"), slow=True, needs="fastapi")

# The same hub with its log on disk, and the cost of answering a request at all.
DISK = System("sqlite", SERVE_DISK, ndjson=True, resumes=True)
EMPTY = System("uvicorn", uvicorn("empty:app"))

ALL = [FLOOR, TAKEOVER, PORTABLE, NCHAN, SSE_STARLETTE, FASTAPI]
OURS = [TAKEOVER.name, PORTABLE.name]

# Ours with the loop probe inside.
PROBED = [
    System("takeover", uvicorn("hub:probed", OUR_PROTOCOL)),
    System("portable", uvicorn("hub:probed")),
]

# The same, with the garbage collector as `tidewire serve` sets it.
PROBED_SERVE = System("serve", uvicorn("served_hub:app", OUR_PROTOCOL))

# The steps from the naive server to ours, as docs/explanation/fan-out.md describes them.
STEPS = [
    SSE_STARLETTE,
    System("a queue each", uvicorn("steps:queues")),
    System("encoded once", uvicorn("steps:encoded_once")),
    System("one log", uvicorn("steps:one_log")),
    PORTABLE,
    TAKEOVER,
    FLOOR,
]
