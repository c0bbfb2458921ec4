"""The answer of a language model, token by token. curl -N 'localhost:8000/answer?question=why'"""

import time
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from tidewire import EventStreamResponse

app = FastAPI()


def model(question: str) -> Iterator[str]:
    """Stand in for the client of a model, which is often a plain generator like this one."""
    for word in f"You ask {question}? Because the sea follows the moon.".split():
        time.sleep(0.1)
        yield word


@app.get("/answer")
def answer(question: str) -> EventStreamResponse:
    def tokens() -> Iterator[dict[str, Any]]:
        for count, token in enumerate(model(question), 1):
            yield {"event": "token", "data": {"text": token, "count": count}}
        yield {"event": "done", "data": ""}

    return EventStreamResponse(tokens())
