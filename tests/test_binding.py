"""An address that others can reach needs a key; the launcher and the API judge by the same rule."""

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


def test_a_name_means_what_it_is_looked_up_as(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"mine": ["127.0.0.1", "::1"], "localhost": ["127.0.0.1", "10.0.0.7"]}

    def look_up(name: str, _port: Any) -> list[tuple[Any, ...]]:
        if name not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    binding.check_bind(Settings(host="mine"))
    with pytest.raises(SettingError, match="ostinato keys"):  # also where it is called localhost
        binding.check_bind(Settings(host="localhost"))
    with pytest.raises(SettingError, match="no address of this machine: Name or service not known"):
        binding.check_bind(Settings(host="nowhere.example"))


def test_there_is_one_rule() -> None:
    assert launcher.check_bind is application.check_bind is binding.check_bind  # type: ignore[attr-defined]


def test_a_name_that_somebody_sends_is_never_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert binding.is_loopback("127.0.0.1") and binding.is_loopback("[::1]")
    assert not any(map(binding.is_loopback, ("localhost", "evil.example", "10.0.0.1", "", "127.0.0.1.evil.example")))
