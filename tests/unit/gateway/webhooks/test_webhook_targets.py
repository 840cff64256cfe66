"""Where a webhook may be: URLs that are taken, and addresses that are connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Sequence

import pytest

from holdfast.outbound import is_private, is_public
from holdfast_gateway.webhooks import targets
from holdfast_gateway.webhooks.gate import Gate
from holdfast_gateway.webhooks.targets import Names, TargetRefused, addresses_of, read

PUBLIC = ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34")
PRIVATE = (
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.254", "fd00::1", "fc00::1", "fec0::1",
    "127.0.0.1", "127.255.255.254", "::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
)  # fmt: skip
NEVER = (
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "224.0.0.1", "239.1.2.3", "ff02::1", "0.0.0.0", "::",
    "255.255.255.255", "240.0.0.1", "192.0.0.192", "198.18.0.1", "192.0.2.1", "203.0.113.1", "2001:db8::1",
    "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:0a00:0001::", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
)  # fmt: skip


@pytest.mark.parametrize(
    "url", ["https://example.com", "https://example.com:8443/a?b=c", "https://[2606:2800::1]/", "HTTPS://E.org/"]
)
def test_https_is_taken_anywhere(url: str) -> None:
    assert not read(url).here


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8080/x", "http://127.0.0.1/", "http://[::1]:9000/", "http://LOCALHOST./", "https://127.1.2.3/"],
)
def test_http_is_taken_for_this_machine_by_name(url: str) -> None:
    assert read(url).here


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "example.com/x", "//example.com/", "http://example.com/", "http://10.0.0.1/", "http://0.0.0.0/", "http://127.1/",
        "http://2130706433/", "http://0x7f.0.0.1/", "http://localhost.example.com/", "http://[::ffff:127.0.0.1]/", "ftp://localhost/",
        "file:///etc/passwd", "https://", "https:///x", "https://user@example.com/", "https://:pw@example.com/", "https://example.com:0/",
        "https://example.com:70000/", "https://example.com:x/", "https://example.com/#part", "https://exa mple.com/",
        "https://example.com\\@10.0.0.1/", "https://a_b,c/",
        "https://example.com/\n", "https://example.com/" + "x" * 2048, "https://a..b/\x00", "gopher://x",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        read(url)


def test_a_name_of_other_letters_is_read_as_it_is_asked_for() -> None:
    assert read("https://bücher.example/").host == "xn--bcher-kva.example"
    assert read("https://Example.COM./").host == "example.com"


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_is_connected_to(address: str) -> None:
    assert await _allowed(address, private=False) == [ipaddress.ip_address(address)]


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_private_address_is_connected_to_where_the_operator_allows_it(address: str) -> None:
    assert await _allowed(address, private=False) is None
    assert await _allowed(address, private=True) == [ipaddress.ip_address(address)]


@pytest.mark.parametrize("address", NEVER)
async def test_no_setting_opens_link_local_and_reserved_addresses(address: str) -> None:
    assert await _allowed(address, private=False) is None
    assert await _allowed(address, private=True) is None
    parsed = ipaddress.ip_address(address)
    assert not is_public(parsed)
    assert not is_private(parsed)


async def _allowed(address: str, *, private: bool) -> object:
    async def resolve(_: str, __: int) -> Sequence[str]:
        return [PUBLIC[0], address]

    target = read("https://example.com/")
    try:
        found = await addresses_of(target, resolve, private=private)
    except TargetRefused:
        return None
    return found[1:]


async def _resolve_to_this_machine(_: str, __: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def _resolve_elsewhere(_: str, __: int) -> Sequence[str]:
    return [PUBLIC[0]]


async def _resolve_nothing(_: str, __: int) -> Sequence[str]:
    return []


async def test_localhost_leads_to_this_machine_and_to_nothing_else() -> None:
    target = read("http://localhost/")
    assert await addresses_of(target, _resolve_to_this_machine, private=False)
    with pytest.raises(TargetRefused):
        await addresses_of(target, _resolve_elsewhere, private=True)


async def test_a_name_that_leads_nowhere_is_no_reason_to_refuse_a_webhook() -> None:
    with pytest.raises(OSError, match="has no address"):
        await addresses_of(read("https://example.com/"), _resolve_nothing, private=False)
    await Gate(_resolve_nothing, private=False).check("https://example.com/", operator=False)


async def test_this_machine_is_its_operators() -> None:
    for url in ("http://localhost/", "https://127.0.0.1/"):
        await Gate(_resolve_to_this_machine, private=False).check(url, operator=True)
        await Gate(_resolve_to_this_machine, private=True).check(url, operator=False)
        with pytest.raises(TargetRefused, match="only an operator's key"):
            await Gate(_resolve_to_this_machine, private=False).check(url, operator=False)


async def test_a_name_whose_servers_are_silent_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    asked: list[str] = []

    def look_up(host: str, _: int) -> list[str]:
        asked.append(host)
        if host == "silent.example":
            answered.wait(10)
        return [PUBLIC[0], PUBLIC[0]]

    monkeypatch.setattr(targets, "_look_up", look_up)
    names = Names()
    try:
        waiting = [asyncio.create_task(names("silent.example", 443)) for _ in range(100)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert await names("other.example", 443) == [PUBLIC[0]]
        waiting.pop().cancel()
        answered.set()
        assert await asyncio.gather(*waiting) == [[PUBLIC[0]]] * 99
        assert await names("silent.example", 443) == [PUBLIC[0]]
    finally:
        answered.set()
        names.close()
    assert asked == ["silent.example", "other.example", "silent.example"]


async def test_names_are_looked_up_as_this_machine_does() -> None:
    names = Names()
    try:
        assert "127.0.0.1" in await names("localhost", 80)
        for wrong in ("a..b", "x" * 64 + ".example"):
            with pytest.raises(OSError):  # noqa: PT011 - a name's failure has many forms
                await names(wrong, 80)
    finally:
        names.close()
