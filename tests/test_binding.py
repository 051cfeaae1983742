"""An address that other machines can reach requires an API key. The launcher and the API share this rule."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from app import binding
from app.api import application
from app.launcher import launcher
from app.settings import SettingError, Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    binding.check_bind(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", ""])
def test_an_open_address_needs_a_key(host: str) -> None:
    with pytest.raises(SettingError, match="ostinato keys"):
        binding.check_bind(Settings(host=host))
    binding.check_bind(Settings(host=host, api_keys="a:12345678"))


def test_a_host_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"mine": ["127.0.0.1", "::1"], "localhost": ["127.0.0.1", "10.0.0.7"]}

    def look_up(name: str, _port: Any) -> list[tuple[Any, ...]]:
        if name not in addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in addresses[name]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    binding.check_bind(Settings(host="mine"))
    with pytest.raises(SettingError, match="ostinato keys"):  # the name localhost gets no exception
        binding.check_bind(Settings(host="localhost"))
    with pytest.raises(SettingError, match="not an address of this machine: Name or service not known"):
        binding.check_bind(Settings(host="nowhere.example"))


def test_launcher_and_api_share_the_rule() -> None:
    assert launcher.check_bind is application.check_bind is binding.check_bind  # type: ignore[attr-defined]


def test_a_name_sent_by_a_client_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert binding.is_loopback("127.0.0.1") and binding.is_loopback("[::1]")
    assert not any(map(binding.is_loopback, ("localhost", "evil.example", "10.0.0.1", "", "127.0.0.1.evil.example")))
