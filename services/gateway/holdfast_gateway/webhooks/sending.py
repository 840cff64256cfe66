"""One try of a delivery: a signed POST to an address that was checked, and what came of it.

No redirect is followed, no cookie kept, no proxy of the environment asked, and nothing of an answer is read but its status and
``Retry-After``: what a receiver says is nobody's to see. Each try has a connection of its own, so that one whose certificate was
checked for a name is never used for another name at the same address. ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name the
authorities to trust in place of the machine's own, as for every program that uses OpenSSL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from ssl import SSLContext, SSLError

import httpx2

from holdfast import __version__
from holdfast.store.webhooks import Claimed
from holdfast_gateway.webhooks.schedule import retry_after_s
from holdfast_gateway.webhooks.signing import headers, message_id
from holdfast_gateway.webhooks.targets import Resolve, Target, TargetRefused, addresses_of, read

_CONNECT_TIMEOUT_S = 5.0
_ADDRESSES_MAX = 3
USER_AGENT = f"Holdfast-Webhooks/{__version__}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try. ``status`` is None when there was no answer; ``error`` is None when it was taken."""

    status: int | None
    error: str | None
    retry_after_s: float | None = None


@cache
def _certificates() -> SSLContext:
    """Read once: it takes longer than all the rest of a client, and the loop stands still for it."""
    return httpx2.create_ssl_context(trust_env=True)


class Sender:
    """Sends. ``now`` is the clock of the signatures' timestamps."""

    def __init__(
        self,
        resolve: Resolve,
        *,
        timeout_s: float,
        private: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        certificates: Callable[[], SSLContext] = _certificates,
    ) -> None:
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._private = private
        self._now = now
        self._certificates = certificates

    async def send(self, delivery: Claimed) -> Outcome:
        """Try a delivery once. Never raises for anything that a receiver or the network does."""
        if delivery.secret is None:
            return Outcome(None, "the webhook was removed")
        try:
            async with asyncio.timeout(self._timeout_s):
                target = read(delivery.url)
                try:
                    addresses = await addresses_of(target, self._resolve, private=self._private)
                except OSError:
                    return Outcome(None, f"no address was found for {target.host}")
                return await self._post_to_one(delivery, delivery.secret, target, [str(each) for each in addresses])
        except TimeoutError:
            return Outcome(None, f"no answer within {self._timeout_s:g} s")
        except TargetRefused as refused:
            return Outcome(None, str(refused))
        except SSLError as error:
            return Outcome(None, f"TLS failed: {error.reason or type(error).__name__}")
        except httpx2.HTTPError as error:
            return Outcome(None, _words(error))
        except (OSError, ValueError, ExceptionGroup) as error:
            return Outcome(None, f"it could not be sent: {type(error).__name__}")

    async def _post_to_one(self, delivery: Claimed, secret: str, target: Target, addresses: list[str]) -> Outcome:
        """The first address that takes a connection gets the message."""
        *others, last = addresses[:_ADDRESSES_MAX]
        for address in others:
            try:
                return await self._post(delivery, secret, target, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent
        return await self._post(delivery, secret, target, last)

    async def _post(self, delivery: Claimed, secret: str, target: Target, address: str) -> Outcome:
        body = delivery.payload.encode()
        now = self._now()
        async with httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S),  # the whole has its own
            verify=self._certificates(),
        ) as client:
            request = client.build_request(
                "POST",
                target.url.copy_with(host=address),
                content=body,
                headers={
                    "host": target.url.netloc.decode("ascii"),
                    "content-type": "application/json",
                    "user-agent": USER_AGENT,
                    "accept": "*/*",
                    "accept-encoding": "identity",
                    "connection": "close",
                    **headers(secret, message_id(delivery.id), int(now.timestamp()), body),
                },
                extensions={"sni_hostname": target.host},
            )
            answer = await client.send(request, stream=True)
            try:
                return _outcome(answer, self._now())
            finally:
                await answer.aclose()


def _outcome(answer: httpx2.Response, now: datetime) -> Outcome:
    if answer.is_success:
        return Outcome(answer.status_code, None)
    words = f"the receiver answered {answer.status_code}"
    if 300 <= answer.status_code < 400:
        words += ", and redirects are not followed"
    return Outcome(answer.status_code, words, retry_after_s(answer.headers.get("retry-after"), now))


def _words(error: httpx2.HTTPError) -> str:
    """What a person can act on. Not the error's own text, which may show addresses."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SSLError):
            return f"TLS failed: {getattr(cause, 'verify_message', '') or cause.reason or type(cause).__name__}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        return "no connection could be made"
    return f"the connection broke before there was an answer ({type(error).__name__})"
