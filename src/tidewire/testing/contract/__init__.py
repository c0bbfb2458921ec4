"""
What every engine promises, as tests: an engine is admitted if a small subclass of these passes.

    class TestMine(EngineContract):
        async def new_engine(self, settings, **options):
            return MyEngine("mine://localhost/test", settings)

pytest collects it like any other test class. See `EngineContract`.
"""

from __future__ import annotations

from .appending import Appending
from .ends import Ends
from .keys import Keys
from .long_life import LongLife
from .reading import Reading
from .records import OutliveRetention
from .reopening import Reopening
from .retention import Retention
from .runs import RunSteps


class EngineContract(
    Appending, Keys, Ends, RunSteps, Reading, Retention, OutliveRetention, Reopening, LongLife
):
    """
    The whole suite. A subclass defines `new_engine` and declares what its engine can do.

    `lasting`: the log is still there when it is opened again. `clocked`: `new_engine`
    accepts the option `clock`, a `HandClock` to use as the log's clock; without it, tests
    that depend on age are left out. `reborn`: each opening by a node that is alone begins a
    life. `loop_factory`: the event loop of the tests, a `VirtualLoop` for engines that live
    in the loop. `deadline`: seconds within which an engine has trimmed what it should.
    """

    def __init_subclass__(cls) -> None:
        # A test that does not apply to this engine is removed, not skipped.
        for name in dir(cls):
            abilities = getattr(getattr(cls, name), "requires", {})
            if any(getattr(cls, ability) != wanted for ability, wanted in abilities.items()):
                setattr(cls, name, None)
