"""The limits on connections, and the idle connections that are closed to make room for new ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.api.http.connections import RESERVE, ConnectionLimits, ConnectionTable, group

CHILD = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
from app.api.http.connections import ConnectionLimits
print(ConnectionLimits.choose(0, 0).total, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


class Socket:
    """A connection that records whether it was closed."""

    def __init__(self) -> None:
        self.is_open = True

    def evict(self) -> None:
        self.is_open = False


def opened(table: ConnectionTable, count: int, host: str = "10.0.0.1") -> list[Socket]:
    sockets = [Socket() for _ in range(count)]
    assert all(table.add(socket, host) for socket in sockets)
    return sockets


def test_a_new_connection_replaces_the_one_that_was_idle_longest() -> None:
    table = ConnectionTable(ConnectionLimits(3, 3))
    first, second, third = opened(table, 3)
    table.busy(first)
    table.idle(first)
    opened(table, 1)
    assert [s.is_open for s in (first, second, third)] == [True, False, True]
    assert len(table) == 3


def test_an_address_with_too_many_connections_loses_its_own() -> None:
    table = ConnectionTable(ConnectionLimits(10, 2))
    [other] = opened(table, 1, "10.0.0.2")
    crowd = opened(table, 5)
    assert [s.is_open for s in crowd] == [False, False, False, True, True]
    assert other.is_open


def test_the_address_with_the_most_idle_connections_gives_way() -> None:
    table = ConnectionTable(ConnectionLimits(4, 4))
    [other] = opened(table, 1, "10.0.0.2")
    crowd = opened(table, 3)
    opened(table, 1, "10.0.0.3")
    assert other.is_open and not crowd[0].is_open


def test_busy_connections_are_kept_and_a_reserve_answers_for_health() -> None:
    table = ConnectionTable(ConnectionLimits(2, 2))
    busy = opened(table, 2)
    for socket in busy:
        table.busy(socket)
    reserved = [Socket() for _ in range(RESERVE + 1)]
    assert not any(table.add(socket, "10.0.0.3") for socket in reserved)
    assert [s.is_open for s in reserved] == [False] + [True] * RESERVE
    assert all(s.is_open for s in busy)
    table.remove(busy[0])
    assert table.add(Socket(), "10.0.0.3")


def test_a_removed_connection_leaves_nothing() -> None:
    table = ConnectionTable(ConnectionLimits(2, 2))
    for socket in opened(table, 2):
        table.remove(socket)
        table.remove(socket)
        table.idle(socket)
    assert (len(table), table._counts, table._idle) == (0, {}, {})


@pytest.mark.parametrize(
    ("host", "same", "other"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("fe80::1%eth0", "fe80::2", "fe81::1"),
    ],
)
def test_addresses_of_one_subscriber_count_as_one(host: str, same: str, other: str) -> None:
    assert group(host) == group(same) != group(other)


def test_descriptors_are_raised_and_connections_leave_some_over() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    total, soft, hard = map(int, done.stdout.split())
    assert soft == hard
    assert 0 < total < soft


def test_settings_limit_the_connections() -> None:
    assert ConnectionLimits.choose(100, 10) == ConnectionLimits(100, 10)
    assert ConnectionLimits.choose(100, 0) == ConnectionLimits(100, 75)
    assert ConnectionLimits.choose(10, 50) == ConnectionLimits(10, 10)
