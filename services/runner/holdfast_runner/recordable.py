"""What the record and the log can hold, and what is made of the rest: refused with a clear word, or mended.

JSON without NUL characters, lone surrogates, NaN or infinities, and not too large. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

from holdfast.errors import AgentFailed

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MESSAGE_CHARS_MAX = 4000
_SHALLOW = 100


def encode(value: Any, *, what: str, bytes_max: int) -> bytes:
    """A value as JSON.

    Raises:
        AgentFailed: it is no JSON value (``not_json``) or too large (``too_large``); the message names ``what``.
    """
    try:
        encoded = to_json(value)
        if encoded.count(b"[") + encoded.count(b"{") > _SHALLOW:
            from_json(encoded)  # deeper than this can be written and not read
    except (ValueError, RecursionError) as error:
        raise AgentFailed("not_json", f"{what} is not a JSON value: {error}") from error
    if _NUL.search(encoded):
        raise AgentFailed("not_json", f"{what} holds a NUL character, which the record cannot")
    may_be_no_number = b"NaN" in encoded or b"Infinity" in encoded
    if may_be_no_number and encoded != to_json(value, inf_nan_mode="null"):
        raise AgentFailed("not_json", f"{what} holds a number that JSON does not have: NaN or an infinity")
    if len(encoded) > bytes_max:
        raise AgentFailed("too_large", f"{what} has {len(encoded)} bytes; {bytes_max} are allowed")
    return encoded


def clean_text(text: str) -> str:
    """The text with U+FFFD for what cannot be held: NUL characters and surrogates without their other half."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def error_of(failed: AgentFailed) -> Mapping[str, str]:
    """A failure as the record and the viewers have it: ``{code, message}``, the message cut to 4000 characters."""
    message = clean_text(str(failed.message))
    if len(message) > _MESSAGE_CHARS_MAX:
        message = message[: _MESSAGE_CHARS_MAX - 1] + "…"
    return {"code": clean_text(str(failed.code)), "message": message}
