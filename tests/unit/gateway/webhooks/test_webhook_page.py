"""The receiver's code on the page for users accepts what Holdfast signs, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast_gateway.webhooks.signing import headers, new_secret

PAGE = Path(__file__).parents[4] / "docs" / "webhooks.md"
BODY = '{"type": "run.completed", "data": {"name": "ü"}}'.encode()
Verify = Callable[[str, dict[str, str], bytes], None]


@pytest.fixture
def verify() -> Verify:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["verify"]  # type: ignore[no-any-return]  # the page's code has no types here


def test_what_is_signed_is_accepted_beside_other_signatures(verify: Verify) -> None:
    secret = new_secret()
    signed = headers(secret, "msg_1", int(time.time()), BODY)
    verify(secret, signed, BODY)
    verify(secret, {**signed, "webhook-signature": f"v1a,x v1,AAAA {signed['webhook-signature']}"}, BODY)


def test_anything_else_is_not(verify: Verify) -> None:
    secret, now = new_secret(), int(time.time())
    signed = headers(secret, "msg_1", now, BODY)
    for wrong_secret, wrong_headers, wrong_body in (
        (new_secret(), signed, BODY),
        (secret, {**signed, "webhook-id": "msg_2"}, BODY),
        (secret, {**signed, "webhook-timestamp": str(now + 1)}, BODY),
        (secret, signed, BODY + b" "),
        (secret, headers(secret, "msg_1", now - 400, BODY), BODY),
    ):
        with pytest.raises(ValueError, match=r"not signed|too old"):
            verify(wrong_secret, wrong_headers, wrong_body)
