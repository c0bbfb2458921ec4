"""
Where the log is stored: `memory`, `sqlite`, and the protocols for an engine of your own.
"""

from ..log.clock import LogClock as LogClock
from ..log.engine import PAGE_BYTES as PAGE_BYTES
from ..log.engine import SCAN_LIMIT as SCAN_LIMIT
from ..log.engine import Durability as Durability
from ..log.engine import Engine as Engine
from ..log.engine import Sink as Sink
from ..position import new_life as new_life
from .by_url import ENGINES as ENGINES
from .by_url import make_engine as make_engine
