"""Signatures are those of Standard Webhooks: its own published example, and what a receiver relies on."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest

from holdfast_gateway.webhooks.signing import headers, key_of, message_id, new_secret, signature

# From the specification's reference libraries ("sign function works"):
# https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/javascript/src/webhook.test.ts
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_example() -> None:
    assert headers(SECRET, MESSAGE, TIMESTAMP, BODY) == {
        "webhook-id": MESSAGE,
        "webhook-timestamp": str(TIMESTAMP),
        "webhook-signature": SIGNATURE,
    }


@pytest.mark.parametrize(
    "changed",
    [
        (new_secret(), MESSAGE, TIMESTAMP, BODY),
        (SECRET, MESSAGE + "x", TIMESTAMP, BODY),
        (SECRET, MESSAGE, TIMESTAMP + 1, BODY),
        (SECRET, MESSAGE, TIMESTAMP, BODY + b" "),
    ],
)
def test_whatever_is_changed_changes_the_signature(changed: tuple[str, str, int, bytes]) -> None:
    assert signature(*changed) != SIGNATURE


def test_a_new_secret_is_32_random_bytes() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(key_of(first)) == 32
    assert first == "whsec_" + base64.b64encode(key_of(first)).decode()


@pytest.mark.parametrize("length", [24, 32, 64])
def test_a_secret_of_ones_own_is_taken(length: int) -> None:
    assert key_of("whsec_" + base64.b64encode(b"k" * length).decode()) == b"k" * length


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        SECRET.removeprefix("whsec_"),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        SECRET + "!",
        SECRET[:-1],
        "whsec_" + "ü" * 40,
        "whsk_" + SECRET.removeprefix("whsec_"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="a secret is whsec_ and the base64 of 24 to 64 random bytes") as refused:
        key_of(secret)
    assert len(secret) < 10 or secret[8:] not in str(refused.value)


def test_a_message_has_one_id_without_a_full_stop() -> None:
    assert message_id(UUID(int=7)) == "msg_00000000-0000-0000-0000-000000000007"
