"""How much memory the loaded versions take, and which of them go when another comes. Plain Python: knows bytes and the
order of use; loads and unloads nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import Unavailable
from app.wire.engine import Load

MIB = 2**20


@dataclass(slots=True)
class _Kept:
    name: str
    bytes: int
    aliased: bool
    used: int


class Memory:
    """The versions of one engine, loaded or on their way. `required`: digests that go for nobody."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of weights."""
        self.limit = limit
        self.required: frozenset[str] = frozenset()
        self._kept: dict[str, _Kept] = {}
        self._turns = itertools.count()

    @property
    def bytes(self) -> int:
        return sum(kept.bytes for kept in self._kept.values())

    @property
    def names(self) -> list[str]:
        """For the log alone: they are of all owners."""
        return sorted(kept.name for kept in self._kept.values())

    def reserve(self, message: Load, idle: Callable[[str], bool]) -> list[str]:
        """Make room for one more. The digests to unload for it: first those without an alias, then by last use.

        Raises Unavailable (`out_of_memory`) where what is busy or required leaves no room; nothing has changed then.
        """
        missing, leaving = self.bytes + message.bytes - self.limit, list[str]()
        for digest in sorted(self._kept, key=lambda d: (self._kept[d].aliased, self._kept[d].used)):
            if missing <= 0:
                break
            if digest not in self.required and idle(digest):
                missing -= self._kept[digest].bytes
                leaving.append(digest)
        if missing > 0:
            raise Unavailable(self._complaint(message), code="out_of_memory")
        self._kept[message.digest] = _Kept(message.name, message.bytes, message.aliased, next(self._turns))
        return leaving

    def _complaint(self, message: Load) -> str:
        said = f"it takes {_mib(message.bytes)} MiB, and OSTINATO_MODEL_MEMORY is {_mib(self.limit)} MiB"
        if message.bytes > self.limit:
            return said
        return f"{said}, {_mib(self.bytes)} of which hold versions that are busy or required"

    def loaded(self, digest: str, nbytes: int) -> None:
        """It is there; now its size is known."""
        self._kept[digest].bytes = nbytes

    def used(self, digest: str) -> None:
        self._kept[digest].used = next(self._turns)

    def release(self, digest: str) -> None:
        self._kept.pop(digest, None)


def _mib(nbytes: int) -> int:
    return -(-nbytes // MIB)
