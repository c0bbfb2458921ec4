"""
Grants: what the bearer of a token may do, and until when. No I/O and no clock.

Rule 1: a requested topic or pattern must lie wholly inside one granted topic or pattern. `a/*` lies
        inside `a/**`, not inside `a/b`; `**` lies only inside `**`. Two grants are never added up.
Rule 2: one call costs a few lookups per level of what is asked for, however many patterns are granted.
        tests/auth/test_grants.py compares the answers with every topic of a small alphabet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from ..errors import InvalidInput
from ..pattern_table import PatternTable
from ..topics import check_term, is_pattern

MAX_GRANTS = 1_000
# Characters in a subject, an issuer or the name of a token: what is longer could not be revoked.
MAX_TEXT = 512


class Terms:
    """Granted topics and patterns. Raises what `check_term` raises."""

    def __init__(self, terms: Iterable[str]) -> None:
        patterns = [term for term in terms if is_pattern(check_term(term))]
        self._everything = "**" in patterns
        self._topics = frozenset(terms).difference(patterns)
        self._patterns = PatternTable(patterns)
        self._open_ended = PatternTable([pattern for pattern in patterns if pattern.endswith("**")])

    def contain(self, term: str) -> bool:
        """Whether `term`, which is valid, lies wholly inside one of these."""
        if self._everything or term in self._topics:
            return True
        # A pattern is looked up as if it were a topic: its `*` is a name that no granted name equals, so
        # only a granted `*` or `**` allows it. Its `**` has any number of levels: only `**` allows that.
        table = self._open_ended if term.endswith("**") else self._patterns
        return table.matches(term)


@dataclass(frozen=True)
class Grant:
    """
    What one bearer may do.

    `subscribe`, `publish`: topics and patterns. `admin`: may also read the metrics and manage the hub.
    `until`: when it ends, in seconds since 1970; None if it does not. `iss`, `sub`, `jti` and `iat` say
    whose it is: the issuer, the subject, and the token's own name and time of issue. `check` is asked every
    5 s while streams of it are open, and must return at once: they end when it returns False.

    Raises `InvalidInput` if a topic or pattern is not valid, if there are more than 1,000
    (`too_many_grants`), or if `iss`, `sub` or `jti` is longer than 512 characters or not text
    (`invalid_subject`), and `Reserved` if a topic or pattern belongs to the hub.
    """

    subscribe: Sequence[str] = ()
    publish: Sequence[str] = ()
    admin: bool = False
    until: float | None = None
    iss: str = ""
    sub: str = ""
    jti: str = ""
    iat: float | None = None
    check: Callable[[], bool] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.subscribe, str) or isinstance(self.publish, str):
            raise TypeError("pass lists of topics and patterns to Grant, not a str")
        # Counted before any is checked: refusing must cost next to nothing.
        subscribe = tuple(islice(self.subscribe, MAX_GRANTS + 1))
        publish = tuple(islice(self.publish, MAX_GRANTS + 1))
        if len(subscribe) + len(publish) > MAX_GRANTS:
            raise InvalidInput(f"grant at most {MAX_GRANTS} topics and patterns", code="too_many_grants")
        for term in (*subscribe, *publish):
            check_term(term)
        for name in ("iss", "sub", "jti"):
            check_text(name, getattr(self, name))
        # A frozen dataclass has no other way to keep a list as a tuple.
        object.__setattr__(self, "subscribe", subscribe)
        object.__setattr__(self, "publish", publish)

    @property
    def subject(self) -> tuple[str, str] | None:
        """Whose it is: the issuer and the subject; None if it does not say."""
        return (self.iss, self.sub) if self.sub else None

    def may_subscribe(self, term: str) -> bool:
        """Whether the bearer may subscribe to `term`, a valid topic or pattern."""
        return self._subscribe.contain(term)

    def may_publish(self, topic: str) -> bool:
        """Whether the bearer may publish to `topic`, a valid topic, and end it."""
        return self._publish.contain(topic)

    def is_over(self, now: float) -> bool:
        """Whether the grant has ended at `now`, in seconds since 1970."""
        return self.until is not None and now >= self.until

    # Compiled at first use: most bearers only subscribe, or only publish.
    @cached_property
    def _subscribe(self) -> Terms:
        return Terms(self.subscribe)

    @cached_property
    def _publish(self) -> Terms:
        return Terms(self.publish)


def check_text(what: str, text: object, least: int = 0) -> None:
    """Raise `InvalidInput` if `text` is not text of `least` to `MAX_TEXT` characters."""
    if not isinstance(text, str) or not least <= len(text) <= MAX_TEXT:
        length = f"{least} to {MAX_TEXT}" if least else f"at most {MAX_TEXT}"
        raise InvalidInput(f"{what} must be text of {length} characters", code="invalid_subject")
