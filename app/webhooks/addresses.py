"""Decides which addresses webhooks may be sent to: public addresses, and the networks that a setting allows.

Without this rule, the holder of a key could use this service to reach services on the internal network (server-side
request forgery). A name is resolved once for each request, all of its addresses are checked, and the connection is made
to a checked address, so that a second answer from the name server cannot change the destination.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

from app.access import IPNetwork
from app.errors import InvalidRequest

URL_LIMIT = 2048
PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HOST = r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
# Does not match a URL with a user, a fragment, spaces, or characters that RFC 3986 does not allow.
URL = re.compile(rf"(https?)://({HOST}(:{PORT})?)([/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?")
GLOBAL = IPv6Network("2000::/3")  # all global addresses are in this network; `is_global` excludes its special networks
# Networks that `is_global` allows in some versions of Python, and the address of Azure's hosts
SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "168.63.129.16/32")))
NAT64 = IPv6Network("64:ff9b::/96")  # an IPv6 network that represents all IPv4 addresses
TUNNELS = (IPv6Network("2002::/16"), IPv6Network("2001::/32"), IPv6Network("::/96"))  # 6to4, Teredo, IPv4-compatible


class AddressRefused(InvalidRequest):
    """Webhooks must not be sent to the address."""

    code = "webhook_address_refused"


@dataclass(frozen=True, slots=True)
class Destination:
    """The parts of an endpoint's URL that are needed to connect to it and to send a request."""

    secure: bool
    host: str  # a name or an address, without brackets
    port: int
    authority: str  # the value of the Host header
    path: str  # with the query

    @classmethod
    def of(cls, url: str) -> Destination:
        """Parse a URL that `check_url` has accepted."""
        match = URL.fullmatch(url)
        assert match is not None
        scheme, authority, host, _, _, port, path = match.groups()
        secure = scheme == "https"
        path = f"/{path}" if (path or "").startswith("?") else path or "/"
        return cls(secure, host.strip("[]"), int(port or (443 if secure else 80)), authority, path)


def check_url(url: str, networks: Sequence[IPNetwork]) -> None:
    """Check the form of a URL and, if its host is an address, the address. Names are checked when they are resolved.

    Raises InvalidRequest for a malformed URL, and AddressRefused for an address that webhooks must not be sent to.
    """
    if len(url) > URL_LIMIT or not URL.fullmatch(url):
        raise InvalidRequest(
            "url must look like https://example.com/webhooks: https, a host, and an optional port, path and query of "
            f"up to {URL_LIMIT} characters in total",
            param="url",
        )
    destination = Destination.of(url)
    address = _literal(destination.host)
    if address is not None:
        check_address(str(address), destination.secure, networks)
    elif not destination.secure and not networks:
        raise AddressRefused(_PLAIN, param="url")


def check_address(address: str, secure: bool, networks: Sequence[IPNetwork]) -> None:
    """Raise AddressRefused unless webhooks may be sent to this address.

    If `secure` is false (plain HTTP), only addresses in `networks` are allowed.
    """
    ip = _plain(address)
    if ip is not None and any(ip in network for network in networks) and not (ip.is_multicast or ip.is_unspecified):
        return
    if ip is None or not ip.is_global or ip.is_multicast or _special(ip):
        raise AddressRefused(
            "url must not resolve to a loopback, link-local, private, multicast or reserved address; the operator can "
            "allow networks with OSTINATO_WEBHOOK_NETWORKS",
            param="url",
        )
    if not secure:
        raise AddressRefused(_PLAIN, param="url")


def _special(ip: IPv4Address | IPv6Address) -> bool:
    return any(ip in network for network in SPECIAL) or (ip.version == 6 and ip not in GLOBAL)


_PLAIN = "url must begin with https://; http:// is only accepted for the networks in OSTINATO_WEBHOOK_NETWORKS"


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """Parse a host that is itself an address, in any form that name resolution accepts, such as 0x7f.1."""
    if host.rpartition(".")[2].lower() == "localhost":
        return IPv4Address("127.0.0.1")
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    if ":" in host:
        raise InvalidRequest("url contains an IPv6 address that is not valid", param="url")
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _plain(address: str) -> IPv4Address | IPv6Address | None:
    """Return the address that receives the packets, or None for a tunnel address with an embedded IPv4 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    loopback = ip == IPv6Address("::1")
    return None if not loopback and any(ip in network for network in TUNNELS) else ip


async def resolve(destination: Destination, networks: Sequence[IPNetwork]) -> list[str]:
    """Resolve a host to its addresses, and check that webhooks may be sent to all of them.

    Raises AddressRefused if one of them is not allowed, and OSError if the name cannot be resolved. If the caller is
    cancelled, the lookup continues in its thread until the resolver's own time limit.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def report(addresses: list[str], error: Exception | None) -> None:
        if not answer.done():
            answer.set_exception(error) if error else answer.set_result(addresses)

    def look_up() -> None:
        addresses: list[str] = []
        error: Exception | None = None
        try:
            entries = socket.getaddrinfo(destination.host, destination.port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except (OSError, UnicodeError) as failure:  # UnicodeError: a label of the name is empty or too long
            error = failure if isinstance(failure, OSError) else OSError(str(failure))
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(report, addresses, error)

    # A daemon thread: the resolver may take half a minute, and the program must be able to exit in the meantime.
    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    addresses = await answer
    for address in addresses:
        check_address(address, destination.secure, networks)
    return addresses
