"""
What every engine promises, as tests: an engine is admitted by a small subclass that passes.

    class TestMine(EngineContract):
        async def new_engine(self, settings, **options):
            return MyEngine("mine://localhost/test", settings)

pytest collects it like any other class of tests. See `EngineContract`.
"""

from __future__ import annotations

from .appending import Appending
from .ends import Ends
from .keys import Keys
from .long_life import LongLife
from .reading import Reading
from .reopening import Reopening
from .retention import Retention


class EngineContract(Appending, Keys, Ends, Reading, Retention, Reopening, LongLife):
    """
    The whole suite. A subclass gives `new_engine` and says what its engine can do.

    `lasting`: the log is still there when it is opened again. `clocked`: `new_engine`
    takes the option `clock`, a `HandClock` that is to be the log's clock. Without it what
    depends on age is left out. `loop_factory`: the event loop of the tests, a `VirtualLoop`
    for engines that live in the loop. `deadline`: seconds after which "in the end" is over.
    """

    def __init_subclass__(cls) -> None:
        # A test that is not for this engine is none, instead of one that is skipped.
        for name in dir(cls):
            abilities = getattr(getattr(cls, name), "where", {})
            if any(getattr(cls, ability) != wanted for ability, wanted in abilities.items()):
                setattr(cls, name, None)
