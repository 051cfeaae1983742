"""Checks whether other machines can reach an address. Binding such an address requires an API key."""

from __future__ import annotations

import ipaddress
import socket

from app.settings import PREFIX, SettingError, Settings


def check_bind(settings: Settings) -> None:
    """Raise SettingError if other machines could use the service without an API key."""
    if settings.keys or _loopback_only(settings.host):
        return
    raise SettingError(
        f"{PREFIX}HOST={settings.host} can be reached from other machines, so {PREFIX}API_KEYS must be set; "
        f'create a key with: export {PREFIX}API_KEYS="$(ostinato keys me)"'
    )


def address_of(settings: Settings) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the socket family and the address to bind. In the `host` setting, an IPv6 address may be in brackets."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return family, (settings.host.strip("[]"), settings.port)


def is_loopback(address: str) -> bool:
    """Whether `address` is a literal loopback address. Never resolves names: a client may control the result."""
    try:
        return ipaddress.ip_address(address.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def _loopback_only(host: str) -> bool:
    """Whether every address that the configured host resolves to is a loopback address."""
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), None)} if host else {"0.0.0.0"}
    except OSError as error:
        raise SettingError(f"{PREFIX}HOST={host} is not an address of this machine: {error.strerror}") from None
    return all(map(is_loopback, addresses))
