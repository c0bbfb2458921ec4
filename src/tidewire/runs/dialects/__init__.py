"""
Dialects: how the output of a run is spelled for the client that reads it.

Without one, what a producer yields is published as events, and the end of the run is an event `run.done`,
`run.failed`, `run.cancelled` or `run.lost`.
"""

from __future__ import annotations

from ...errors import InvalidInput
from ...log.runs import Run
from .agui import AgUi
from .chat import OpenAiChat
from .events import Events
from .protocol import Dialect, Speaker, Spelled
from .responses import OpenAiResponses
from .text import PlainText
from .vercel import AiSdk

__all__ = [
    "Dialect",
    "Speaker",
    "Spelled",
    "ag_ui",
    "ai_sdk",
    "dialect_of",
    "events",
    "is_registered",
    "openai_chat",
    "openai_responses",
    "plain_text",
    "register",
]

events = Events()
ai_sdk = AiSdk()
ag_ui = AgUi()
openai_chat = OpenAiChat()
openai_responses = OpenAiResponses()
plain_text = PlainText()

BY_NAME: dict[str, Dialect] = {}


def register(dialect: Dialect) -> None:
    """
    Make a dialect known to this program, by its name.

    Every process with the log needs it: each of them may end a run of another one that died, and stream it.
    Raises `InvalidInput` if there is another dialect with its name.
    """
    if BY_NAME.setdefault(dialect.name, dialect) is not dialect:
        raise InvalidInput(f"there is another dialect named {dialect.name!r}", code="invalid_dialect")


def is_registered(dialect: Dialect) -> bool:
    return BY_NAME.get(dialect.name) is dialect


def dialect_of(run: Run) -> Dialect:
    """Return the dialect of a run; one that this program does not know is none."""
    return BY_NAME.get(run.dialect, events)


for ours in (events, ai_sdk, ag_ui, openai_chat, openai_responses, plain_text):
    register(ours)
