"""What the record cannot hold of JSON that others have made, in a form that it can. Pure.

The words of a model and the results of tools are nobody's here to refuse: the work has been done. So characters that the record
has no place for are mended, and an object's key that reads as the codec's own (``$holdfast``) is written with one more ``$``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from holdfast_agent.codec import TAG

_ESCAPED = re.compile(r"\$*" + re.escape(TAG))


def mended(value: Any) -> Any:
    """With U+FFFD for what no record can hold: NUL characters and surrogates without their other half."""
    return _with(value, text=_mended_text, key=_mended_text)


def escaped(value: Any) -> Any:
    """With keys that the codec takes for what they are: keys."""
    return _with(value, key=lambda key: f"${key}" if _ESCAPED.fullmatch(key) else key)


def unescaped(value: Any) -> Any:
    """What :func:`escaped` was given."""
    return _with(value, key=lambda key: key[1:] if key != TAG and _ESCAPED.fullmatch(key) else key)


def _same(text: str) -> str:
    return text


def _with(value: Any, *, text: Callable[[str], str] = _same, key: Callable[[str], str]) -> Any:
    """Plain lists, dicts and texts are gone through; what is richer (a model, a date) is left to the codec."""
    of = type(value)
    if of is str:
        return text(value)
    if of is dict:
        return {
            key(name) if type(name) is str else name: _with(each, text=text, key=key) for name, each in value.items()
        }
    if of is list or of is tuple:
        return [_with(each, text=text, key=key) for each in value]
    return value


def _mended_text(text: str) -> str:
    text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
