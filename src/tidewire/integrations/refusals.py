"""
What a program answers when the hub refuses something in one of its routes.
"""

from __future__ import annotations

from ..errors import TidewireError
from ..http.responses import ProblemResponse


def refusal(error: TidewireError, method: str) -> ProblemResponse:
    """Return the response to a request in which `error` was raised. Raises `error` if it is no refusal."""
    # What has no status of its own belongs into the program's log.
    if error.status == TidewireError.status:
        raise error
    return ProblemResponse(error, publish=method not in ("GET", "HEAD"))
