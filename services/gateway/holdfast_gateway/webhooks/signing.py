"""Signatures as Standard Webhooks 1.0.0 has them (symmetric, ``v1``), and the secrets that they are made with. Pure but for
:func:`new_secret`.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from uuid import UUID

_MARK = "whsec_"
_NEW_BYTES = 32
_BYTES_MIN, _BYTES_MAX = 24, 64
SECRET_FORM = "whsec_ and the base64 of 24 to 64 random bytes"  # noqa: S105 - words for a person


def new_secret() -> str:
    """A secret that nobody else has."""
    return _MARK + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for.

    Raises:
        ValueError: it is none; the message does not show it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_MARK), validate=True) if secret.startswith(_MARK) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not _BYTES_MIN <= len(key) <= _BYTES_MAX:
        raise ValueError(f"a secret is {SECRET_FORM}")
    return key


def message_id(delivery_id: UUID) -> str:
    """The ``webhook-id`` of a delivery: the same at each try, and when it is sent anew."""
    return f"msg_{delivery_id}"


def signature(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    """``v1,<base64>`` over the message's id, the time of the try in whole seconds, and the very bytes of the body."""
    signed = hmac.new(key_of(secret), f"{identity}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(signed).decode()


def headers(secret: str, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a message."""
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, identity, timestamp, body),
    }
