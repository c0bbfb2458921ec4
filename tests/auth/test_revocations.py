"""Kicks and revocations: which grants a record is for, and until when."""

from __future__ import annotations

import pytest

from tidewire.auth.grants import Grant
from tidewire.auth.revocations import (
    MARGIN,
    concerns,
    kick_draft,
    refusal_of,
    subject_draft,
    target_of,
    token_draft,
)
from tidewire.errors import InvalidInput
from tidewire.log.entries import Draft, Record
from tidewire.log.records import KICK, LIMITS, REVOCATION, Records

NOW = 1_000_000.0
DAY = 86_400.0


def record(draft: Draft, offset: int = 1) -> Record:
    """Return the record that an engine makes of a draft."""
    assert draft.record is not None
    kind, name, value, lifetime = draft.record
    return Record(kind, name, value, NOW + lifetime, offset)


def code(grant: Grant, *drafts: Draft, now: float = NOW) -> str | None:
    refusal = refusal_of(grant, Records(map(record, drafts)), now)
    if refusal is not None:
        assert refusal.status == 401
    return None if refusal is None else refusal.code


def test_a_grant_is_refused_from_its_end_on() -> None:
    grant = Grant(until=NOW)
    assert code(grant, now=NOW - 1) is None
    assert code(grant) == "token_expired"
    assert code(Grant()) is None


def test_a_revoked_token_is_refused_until_it_would_have_expired() -> None:
    draft = token_draft("t1", 60)
    assert code(Grant(jti="t1", sub="ann"), draft) == "token_revoked"
    assert code(Grant(jti="t1"), draft, now=NOW + 60) == "token_revoked"
    assert code(Grant(jti="t1"), draft, now=NOW + 60 + MARGIN) is None
    assert code(Grant(jti="t2", sub="t1"), draft) is None
    assert code(Grant(), draft) is None


def test_a_token_that_has_expired_may_be_revoked() -> None:
    assert record(token_draft("t1", -DAY)).until == NOW + MARGIN


@pytest.mark.parametrize(
    ("iat", "expected"),
    [(NOW - 1, "token_revoked"), (NOW, "token_revoked"), (NOW + 0.1, None), (None, "token_revoked")],
)
def test_a_revoked_subject_is_refused_by_the_time_of_issue(iat: float | None, expected: str | None) -> None:
    draft = subject_draft("ann", None, NOW, DAY)
    assert code(Grant(sub="ann", iat=iat), draft) == expected
    assert code(Grant(sub="bob", iat=iat), draft) is None
    assert code(Grant(sub="ann", iat=iat), draft, now=NOW + DAY + MARGIN) is None


def test_the_issuer_is_compared_if_it_is_given() -> None:
    of_one, of_any = subject_draft("ann", "idp", NOW, DAY), subject_draft("ann", None, NOW, DAY)
    for iss, by_one in (("idp", "token_revoked"), ("other", None), ("", None)):
        assert code(Grant(sub="ann", iss=iss), of_one) == by_one
        assert code(Grant(sub="ann", iss=iss), of_any) == "token_revoked"
        assert concerns(record(kick_draft("ann", "idp", "x")), Grant(sub="ann", iss=iss)) == bool(by_one)


def test_a_subject_cannot_be_spelled_so_that_it_is_another_one() -> None:
    names = [
        record(draft).name
        for draft in (
            token_draft('["a", "b"]', 1),
            token_draft("null", 1),
            subject_draft("b", "a", NOW, 1),
            subject_draft('a", "b', None, NOW, 1),
            subject_draft("b", None, NOW, 1),
        )
    ]
    assert len(set(names)) == len(names)
    for name in names:
        jti, sub, iss = target_of(Record(REVOCATION, name, "0", 0, 1))
        assert bool(jti) != bool(sub)
        assert iss in (None, "a")


def test_a_kick_forbids_nothing() -> None:
    draft = kick_draft("ann", None, "logged out")
    assert code(Grant(sub="ann"), draft) is None
    kick = record(draft)
    assert (kick.kind, kick.value, kick.until) == (KICK, "logged out", NOW + 60)
    assert concerns(kick, Grant(sub="ann", iat=NOW + 1))
    assert not concerns(kick, Grant(sub="bob"))


@pytest.mark.parametrize("bad", ["", "x" * 513, 7, None])
def test_what_names_nobody_is_refused(bad: str) -> None:
    for make in (
        lambda: token_draft(bad, 1),
        lambda: subject_draft(bad, None, NOW, 1),
        lambda: kick_draft(bad, None, "x"),
        lambda: kick_draft("ann", None, bad),
    ):
        with pytest.raises(InvalidInput):
            make()
    if bad is not None:
        with pytest.raises(InvalidInput):
            subject_draft("ann", bad, NOW, 1)


@pytest.mark.parametrize("lifetime", [float("inf"), float("nan")])
def test_a_revocation_has_an_end(lifetime: float) -> None:
    with pytest.raises(InvalidInput):
        token_draft("t1", lifetime)


def test_a_million_kicks_are_kept_and_a_hundred_thousand_revocations() -> None:
    assert LIMITS[KICK] == 1_000_000
    assert REVOCATION not in LIMITS


def test_odd_text_in_a_token_is_compared_like_any_other() -> None:
    for text in ("\ud800", "é", "\0", '"'):
        assert code(Grant(sub=text, jti=text), token_draft(text, 1)) == "token_revoked"
        assert code(Grant(sub=text), subject_draft(text, None, NOW, 1)) == "token_revoked"
