"""API keys and whom they stand for. A key is 256 random bits, shown once and stored as its SHA-256.

Nothing of a key is kept in memory between requests, so a revoked one is refused by every gateway at once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.errors import Terminal
from holdfast.store import Database, KeyRow, caller

_MARK = "hf_"
_HINT_LENGTH = 9  # the mark and six characters: enough to tell keys apart, far from enough to guess one
_KEY_LENGTH_MAX = 512
_KEY_ID_LENGTH = 16
DEFAULT_TENANT = "default"


class KeyRefused(Terminal):
    """There is no key, or nobody's. ``code`` is ``key_missing`` or ``key_invalid``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a tenant, whether its key is an operator's, and which key: the same ``key`` for the same one, at every gateway.

    ``key`` tells keys apart and is none: nothing can be asked with it.
    """

    tenant_id: str
    operator: bool
    key: str


EVERYBODY = Caller(DEFAULT_TENANT, operator=True, key="")
"""Who asks where ``HOLDFAST_AUTH=none``: one machine, one person."""


def hash_key(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


async def make_key(db: Database, tenant_id: str, *, name: str, operator: bool) -> tuple[str, KeyRow]:
    """Make a key, and the tenant if need be. The key itself is returned here and can never be read again.

    Raises:
        Refused: the tenant's name is not usable.
    """
    key = _MARK + secrets.token_urlsafe(32)
    row = await caller.make_key(
        db, tenant_id, name=name, prefix=key[:_HINT_LENGTH], key_hash=hash_key(key), operator=operator
    )
    assert row is not None  # 256 random bits do not meet twice
    return key, row


async def ensure_bootstrap_key(db: Database, key: str) -> None:
    """Store the first operator's key of tenant ``default``. One that was revoked stays revoked."""
    await caller.make_key(db, DEFAULT_TENANT, name="bootstrap", prefix=key[:3], key_hash=hash_key(key), operator=True)


def presented_key(headers: Mapping[str, str]) -> str:
    """The key of a request: ``Authorization: Bearer <key>`` or ``X-Api-Key: <key>``.

    Raises:
        KeyRefused: there is none.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
    if not key:
        raise KeyRefused("key_missing", "send an API key as 'Authorization: Bearer <key>' or 'X-Api-Key: <key>'")
    return key


async def who_has(db: Database, key: str) -> Caller:
    """Whose key is this?

    Raises:
        KeyRefused: nobody's, or a revoked one.
    """
    stored = hash_key(key)
    found = await caller.find_key(db, stored) if len(key) <= _KEY_LENGTH_MAX else None
    if found is None:
        raise KeyRefused("key_invalid", "this API key is not known, or was revoked")
    tenant_id, operator = found
    return Caller(tenant_id, operator, stored.hex()[:_KEY_ID_LENGTH])
