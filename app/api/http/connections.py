"""Limits an API process's connections, so that idle sockets cannot keep other clients out."""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Protocol

DESCRIPTORS = 65_536  # the limit on file descriptors that the process requests from the system
OTHER_DESCRIPTORS = 256  # descriptors for files, the database and the engines
MOST = 4096  # default limit on connections; more would need too much memory if each had an unfinished request
RESERVE = 32  # additional connections, which may request only the health routes


class Connection(Protocol):
    """A connection that `ConnectionTable` may close."""

    def evict(self) -> None:
        """Close the connection immediately."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The maximum number of connections in total and per address."""

    total: int
    per_address: int

    @classmethod
    def choose(cls, total: int, per_address: int) -> ConnectionLimits:
        """Raise the process's limit on file descriptors, and return connection limits that this limit allows.

        A `total` of 0 means the default, `MOST`. A `per_address` of 0 means 3/4 of the total.
        """
        possible = max(1, raise_descriptors() - OTHER_DESCRIPTORS - RESERVE)
        total = min(total or MOST, possible)
        return cls(total, min(per_address or max(1, total * 3 // 4), total))


class ConnectionTable:
    """The open connections. A connection that is waiting for a request is *idle* and can be replaced by a new one.

    If an address has reached its limit, a new connection from this address replaces the one that has been idle longest.
    If the total has reached its limit, a new connection replaces the one that has been idle longest among those of the
    address with the most idle connections. If no connection can be replaced, the new one is *reserved*: it may request
    only the health routes. At most `RESERVE` connections are reserved at a time; another one replaces the oldest.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._addresses: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()
        self._idle: dict[str, OrderedDict[Connection, None]] = {}
        self._reserved: OrderedDict[Connection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, connection: Connection, host: str) -> bool:
        """Add a new, idle connection. Returns False if the connection is reserved."""
        address = group(host)
        if not self._make_room(address):
            self._reserved[connection] = None
            if len(self._reserved) > RESERVE:
                self._evict(next(iter(self._reserved)))
            return False
        self._addresses[connection] = address
        self._counts[address] += 1
        self.idle(connection)
        return True

    def idle(self, connection: Connection) -> None:
        """Record that the connection is waiting for its next request."""
        if (address := self._addresses.get(connection)) is not None:
            self._idle.setdefault(address, OrderedDict())[connection] = None

    def busy(self, connection: Connection) -> None:
        """Record that the connection has a request in progress."""
        address = self._addresses.get(connection, "")
        waiting = self._idle.get(address, OrderedDict())
        waiting.pop(connection, None)
        if not waiting:
            self._idle.pop(address, None)

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection. Has no effect if the connection has already been removed."""
        self._reserved.pop(connection, None)
        self.busy(connection)
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _make_room(self, address: str) -> bool:
        if self._counts[address] >= self.limits.per_address:
            return self._evict_idle(address)
        if len(self._addresses) < self.limits.total:
            return True
        heaviest = max(self._idle, key=lambda other: len(self._idle[other]), default=None)
        return heaviest is not None and self._evict_idle(heaviest)

    def _evict_idle(self, address: str) -> bool:
        waiting = self._idle.get(address)
        if not waiting:
            return False
        self._evict(next(iter(waiting)))
        return True

    def _evict(self, connection: Connection) -> None:
        self.remove(connection)
        connection.evict()


def group(host: str) -> str:
    """Return the key for the limit per address: an IPv4 address, or the 64-bit prefix of an IPv6 subscriber."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


def raise_descriptors() -> int:
    """Raise the limit on file descriptors to `DESCRIPTORS`, or as far as the system allows. Return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
