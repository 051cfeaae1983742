"""The addresses to which webhooks may be sent. tests/security/test_sec_13_webhooks.py attacks them through the API."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from app.access import networks
from app.errors import InvalidRequest
from app.webhooks.addresses import AddressRefused, Destination, check_address, check_url, resolve

PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8")
REFUSED = (
    "127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "224.0.1.1",
    "192.0.0.192", "192.88.99.1", "168.63.129.16", "::ffff:192.0.0.192", "64:ff9b::c000:c0", "3fff::1",
    "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::2", "::7f00:1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "ff0e::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1", "2002:7f00:1::1", "2002:808:808::1", "2001:0:4136:e378::1", "2001:db8::1", "100::1",
    "4000::1", "fe00::1",
)  # fmt: skip
URLS = {
    "https://example.com": Destination(True, "example.com", 443, "example.com", "/"),
    "https://example.com:8443?a=b": Destination(True, "example.com", 8443, "example.com:8443", "/?a=b"),
    "https://8.8.8.8/a/b?c=d": Destination(True, "8.8.8.8", 443, "8.8.8.8", "/a/b?c=d"),
    "https://[2606:4700::1111]/x": Destination(True, "2606:4700::1111", 443, "[2606:4700::1111]", "/x"),
}
MALFORMED = (
    "", "example.com", "ftp://example.com", "file:///etc/passwd", "gopher://example.com", "HTTPS://example.com",
    "https://", "https:///path", "https://user@example.com", "https://a:b@example.com", "https://example.com#part",
    "https://example.com/ x", "https://example.com/\nhost: evil", "https://example.com/\n", "https://example.com:0",
    "https://example.com:65536", "https://example.com:", "https://exa mple.com", "https://-a.com", "https://a.com.",
    "https://[::1", "https://[zz]", "https://[1::2::3]", "https://[]", "https://ex\u00e4mple.com", "https://a\\b.com",
    "https://example.com/" + "x" * 2048,
)  # fmt: skip
LITERALS = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "localhost", "LOCALHOST",
    "api.localhost", "[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "169.254.169.254", "10.0.0.1", "0",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached_with_https_only(address: str) -> None:
    check_address(address, True, ())
    with pytest.raises(AddressRefused, match="https://"):
        check_address(address, False, ())


@pytest.mark.parametrize("address", REFUSED)
def test_other_addresses_are_refused(address: str) -> None:
    for secure in (True, False):
        with pytest.raises(AddressRefused, match="OSTINATO_WEBHOOK_NETWORKS"):
            check_address(address, secure, networks("192.168.77.0/24,fd77::/16"))


def test_a_setting_allows_networks() -> None:
    allowed = networks("10.1.0.0/16, 127.0.0.1,::1,fd00::/8")
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "127.0.0.1", "::1", "fd00::5"):
        check_address(address, False, allowed)
    for address in ("10.2.0.1", "127.0.0.2", "fe80::1"):
        with pytest.raises(AddressRefused):
            check_address(address, True, allowed)
    for address in ("224.0.0.1", "0.0.0.0", "ff02::1", "::", "2002:a01:203::1"):
        with pytest.raises(AddressRefused):
            check_address(address, True, networks("0.0.0.0/0,::/0"))


@pytest.mark.parametrize("url", URLS)
def test_urls_are_split_into_their_parts(url: str) -> None:
    check_url(url, ())
    assert Destination.of(url) == URLS[url]


@pytest.mark.parametrize("url", MALFORMED)
def test_malformed_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_url(url, networks("0.0.0.0/0"))
    assert caught.value.param == "url"


@pytest.mark.parametrize("host", LITERALS)
def test_an_address_is_refused_in_every_notation(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(f"https://{host}/x", ())


def test_plain_http_is_accepted_only_if_a_setting_allows_networks() -> None:
    with pytest.raises(AddressRefused, match="https://"):
        check_url("http://receiver.internal/x", ())
    check_url("http://receiver.internal/x", networks("10.0.0.0/8"))
    check_url("http://10.1.2.3/x", networks("10.0.0.0/8"))


def resolved(host: str, allowed: str = "") -> list[str]:
    return asyncio.run(resolve(Destination.of(f"https://{host}/"), networks(allowed)))


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_all_addresses_of_a_name_must_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "8.8.8.8", "1.1.1.1", "8.8.8.8")
    assert resolved("example.com") == ["8.8.8.8", "1.1.1.1"]
    answers(monkeypatch, "8.8.8.8", "10.0.0.1")
    with pytest.raises(AddressRefused):
        resolved("example.com")
    assert resolved("localhost", "10.0.0.0/8,8.8.8.8/32") == ["8.8.8.8", "10.0.0.1"]


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".com"])
def test_names_that_cannot_exist_have_no_address(host: str) -> None:
    with pytest.raises(OSError):
        resolved(host)


def test_a_slow_name_server_does_not_block_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    release, ended = threading.Event(), threading.Event()

    def slow(*_: Any, **__: Any) -> list[Any]:
        release.wait(30)
        ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def limited() -> None:
        async with asyncio.timeout(0.05):
            await resolve(Destination.of("https://example.com/"), ())

    with pytest.raises(TimeoutError):
        asyncio.run(limited())
    assert not ended.is_set()  # the end of the loop has not waited for the lookup
    release.set()
