"""Tokens for tests: a secret, and tokens signed with it or with anything else."""

from __future__ import annotations

import time
from typing import Any

import jwt

SECRET = "an-example-secret-of-the-tests-0123456789"


def token(
    key: Any = SECRET,
    *,
    algorithm: str = "HS256",
    head: dict[str, Any] | None = None,
    subscribe: Any = (),
    publish: Any = (),
    admin: Any = False,
    **claims: Any,
) -> str:
    """Return a token that is valid for an hour. A claim that is None is left out."""
    now = int(time.time())
    own = {"subscribe": list(subscribe), "publish": list(publish), "admin": admin}
    given = {"iat": now, "exp": now + 3600, "sub": "ada", "tidewire": own, **claims}
    kept = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(kept, key, algorithm, head)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}
