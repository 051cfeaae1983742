"""The launcher finds a free port for the API, or refuses a port that is taken."""

from __future__ import annotations

import socket

import pytest

from app import settings
from app.launcher.preparation import StartRefused, find_port


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartRefused, match="choose another port with --port"):
            find_port(settings.load({}, port=taken.getsockname()[1]))


def test_port_0_takes_a_free_one() -> None:
    for host in ("127.0.0.1", "::1", "[::1]") if _has_ipv6() else ("127.0.0.1",):
        assert find_port(settings.load({}, host=host, port=0)) > 0


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
