"""
Grants from a function of the program: `Hub(auth=function)`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import TidewireError, Unauthorized, Unavailable
from .access import Kind, not_granted
from .bearer import has_authorization
from .cookies import has_cookie
from .grants import Grant

logger = logging.getLogger("tidewire")

Authenticate = Callable[[Mapping[str, Any]], Grant | Awaitable[Grant | None] | None]

# Seconds that the function may take.
TIMEOUT = 5.0
# Calls of a sync function at once. Each may hold a connection to a database.
MAX_THREADS = 8
RETRY_AFTER = 5.0


class ByCallable:
    """
    Asks `function` for the grant of each request: an ASGI scope in, a `Grant` or None out.

    A sync function runs in a pool of threads. One that fails or takes longer than 5 s is a 503.
    """

    takes_tokens = False

    def __init__(self, function: Authenticate) -> None:
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async
        )
        self._threads = ThreadPoolExecutor(MAX_THREADS, "tidewire-auth")

    async def grant(self, scope: Mapping[str, Any]) -> Grant:
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await self._ask(scope)
        except TidewireError:
            raise
        except TimeoutError:
            logger.error("the auth function of the hub took longer than %g s", TIMEOUT)
            raise unavailable() from None
        except Exception:
            logger.exception("the auth function of the hub failed")
            raise unavailable() from None
        if found is None:
            raise Unauthorized("you must sign in first")
        if not isinstance(found, Grant):
            logger.error(
                "the auth function of the hub returned %s, not a Grant or None", type(found).__name__
            )
            raise unavailable()
        return found

    async def _ask(self, scope: Mapping[str, Any]) -> object:
        if not self._is_async:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._function, scope)
        else:
            found = self._function(scope)
        return await found if inspect.isawaitable(found) else found

    def remember(self, scope: Mapping[str, Any]) -> None:
        """Nothing is remembered: only the function knows when its answer changes."""

    def key_of(self, grant: Grant) -> str:
        return ""

    async def with_key(self, grant: Grant, key: str) -> Grant:
        return grant

    def by_cookie(self, scope: Mapping[str, Any]) -> bool:
        # Which header the function reads is not known.
        return has_cookie(scope) and not has_authorization(scope)

    def is_anonymous(self, grant: Grant) -> bool:
        return False

    def refusal(self, grant: Grant, kind: Kind, topic: str | None = None) -> TidewireError:
        return not_granted(kind, topic)


def unavailable() -> Unavailable:
    return Unavailable(
        "who you are cannot be found out now", code="auth_unavailable", retry_after=RETRY_AFTER
    )
