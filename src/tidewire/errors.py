"""
Every exception that this package raises on purpose.

* TidewireError               500
  * InvalidInput              400   also a ValueError: an argument or a request breaks a rule
    * InvalidPosition         400   text that is not a position
  * Unauthorized              401   the token is missing, expired, revoked or not valid
  * Reserved                  403   also a ValueError: a name that belongs to the hub
  * Forbidden                 403   the cross-site rule, or a grant that is missing
  * Misdirected               421   the Host rule
  * NotFound                  404
  * MethodNotAllowed          405
  * NotAcceptable             406
  * Timeout                   408   the client took too long to send its request
  * TopicEnded                409
  * RunConflict               409   another run of the topic is active, or the run is over
  * Gone                      410   a plain stream cannot continue without a gap
  * TooLarge                  413   also a ValueError
  * UnsupportedMediaType      415
  * KeyConflict               422   the same key with another event
  * HeadTooLarge              431
  * TooMany                   429   a limit; try again later
  * Unavailable               503   not now; try again later
    * Draining                503   the process is stopping
    * Unknown                 503   the event may or may not have been stored
  * StoreFull                 507
  * StartRefused              -     the hub or server cannot start, or would lose events
  * StreamRefused             -     for clients: the server's answer ends the stream for good

`status` is the status of the HTTP response and `code` the name of the error in its
problem+json body, so the HTTP layer needs one `except TidewireError`. The text is
for people: it says what to do and never repeats a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Stored = Literal[False, "unknown"]


class TidewireError(Exception):
    """The base class: `status`, `code`, `detail`, and `retry_after` in seconds if waiting helps."""

    status = 500
    code = "internal"
    # Whether the event of a refused publish was stored. Only a lost answer of the
    # engine leaves that unknown; all other errors occur before anything is stored.
    stored: Stored = False

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.retry_after = retry_after
        self.members = members

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 body: `type`, `title`, `status`, `code`, `detail` and `members`."""
        title = type(self).__name__
        return {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.members,
        }


class InvalidInput(TidewireError, ValueError):
    status = 400
    code = "invalid_input"


class InvalidPosition(InvalidInput):
    code = "invalid_position"


class Unauthorized(TidewireError):
    status = 401
    code = "unauthorized"


class Reserved(TidewireError, ValueError):
    status = 403
    code = "reserved"


class Forbidden(TidewireError):
    status = 403
    code = "cross_site"


class Misdirected(TidewireError):
    status = 421
    code = "wrong_host"


class NotFound(TidewireError):
    status = 404
    code = "not_found"


class MethodNotAllowed(TidewireError):
    status = 405
    code = "method_not_allowed"


class NotAcceptable(TidewireError):
    status = 406
    code = "not_acceptable"


class Timeout(TidewireError):
    status = 408
    code = "request_timeout"


class TopicEnded(TidewireError):
    status = 409
    code = "topic_ended"


class RunConflict(TidewireError):
    status = 409
    code = "run_active"


class Gone(TidewireError):
    status = 410
    code = "gap"


class TooLarge(TidewireError, ValueError):
    status = 413
    code = "too_large"


class UnsupportedMediaType(TidewireError):
    status = 415
    code = "unsupported_media_type"


class KeyConflict(TidewireError):
    status = 422
    code = "key_conflict"


class TooMany(TidewireError):
    status = 429
    code = "too_many"


class HeadTooLarge(TidewireError):
    status = 431
    code = "head_too_large"


class Unavailable(TidewireError):
    status = 503
    code = "unavailable"


class Draining(Unavailable):
    code = "draining"


class Unknown(Unavailable):
    code = "unknown"
    stored: Stored = "unknown"


class StoreFull(TidewireError):
    status = 507
    code = "store_full"


class StartRefused(TidewireError, RuntimeError):
    code = "start_refused"


class StreamRefused(TidewireError):
    code = "stream_refused"
    headers: Mapping[str, str] = MappingProxyType({})  # the response's
