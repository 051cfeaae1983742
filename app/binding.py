"""Which addresses others can reach, and that none of those is bound without a key.

Knows addresses and names; binds nothing.
"""

from __future__ import annotations

import ipaddress
import socket

from app.settings import PREFIX, SettingError, Settings


def check_bind(settings: Settings) -> None:
    """Raises SettingError where everybody on the network could use the service without a key."""
    if settings.keys or _loopback_only(settings.host):
        return
    raise SettingError(
        f"{PREFIX}HOST={settings.host} can be reached from other machines, so {PREFIX}API_KEYS must be set; "
        f'make a key with: export {PREFIX}API_KEYS="$(ostinato keys me)"'
    )


def address_of(settings: Settings) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """What kind of socket to make, and what to bind it to; an IPv6 address may stand in brackets."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return family, (settings.host.strip("[]"), settings.port)


def is_loopback(address: str) -> bool:
    """Whether this text is a loopback address. Names are none: who sends one may decide what it means."""
    try:
        return ipaddress.ip_address(address.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def _loopback_only(host: str) -> bool:
    """Whether all that a host of the settings stands for is loopback; a name is looked up."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), None)} if host else {"0.0.0.0"}
    except OSError as error:
        raise SettingError(f"{PREFIX}HOST={host} is no address of this machine: {error.strerror}") from None
    return all(map(is_loopback, found))
