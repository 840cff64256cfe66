"""When a delivery is tried again: the delays of Standard Webhooks, for a day. Pure: the clock and the dice are arguments."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MINUTE_S = 60.0
_HOUR_S = 3600.0
DELAYS_S = (5.0, 5 * _MINUTE_S, 30 * _MINUTE_S, 2 * _HOUR_S, 5 * _HOUR_S, 10 * _HOUR_S)
"""After the first try, the second, and so on; the last one goes on until the day is over."""
WINDOW_S = 24 * _HOUR_S
JITTER = 0.2
"""By so much of itself a delay may be longer, so that what failed together does not come again together."""
_RETRY_AFTER_MAX_S = DELAYS_S[-1]
_GONE = 410


def again_in_s(
    tries: int, tried_for_s: float, *, status: int | None, retry_after_s: float | None, dice: float
) -> float | None:
    """How long to wait after a try that failed; None: give it up.

    Args:
        tries: how many there were, this one included.
        tried_for_s: since the first of them.
        status: of the answer; 410 says that nobody wants this any more. None: there was no answer.
        retry_after_s: what the receiver asked for; it makes a delay longer, never shorter.
        dice: from 0 up to 1.
    """
    left_s = WINDOW_S - tried_for_s
    if status == _GONE or left_s <= 0:
        return None
    delay_s = DELAYS_S[min(tries, len(DELAYS_S)) - 1] * (1 + JITTER * dice)
    if retry_after_s is not None:
        delay_s = max(delay_s, min(retry_after_s, _RETRY_AFTER_MAX_S))
    return max(min(delay_s, left_s), DELAYS_S[0])  # the last try is made as the day ends


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """``Retry-After``, seconds or a date (RFC 9110), in seconds from ``now``; None: there is none that can be read."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        wanted = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if wanted.tzinfo is None:
        wanted = wanted.replace(tzinfo=UTC)
    return max((wanted - now).total_seconds(), 0.0)
