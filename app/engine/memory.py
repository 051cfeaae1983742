"""Tracks the memory of loaded versions, and chooses the versions to evict when another is loaded. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass

from app.errors import Unavailable
from app.wire.engine import Load

MIB = 2**20
Base = tuple[Hashable, int]  # the identity and the size of weights that a version shares with others
SEPARATE: Base = (None, 0)


@dataclass(slots=True)
class _Entry:
    name: str
    bytes: int
    aliased: bool
    last_use: int
    base: Base = SEPARATE


class Memory:
    """Records the sizes and last uses of versions that are loaded or being loaded.

    Versions whose digests are in `required` are never evicted. The caller loads and unloads the versions.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is the maximum total size of the weights, in bytes."""
        self.limit = limit
        self.required: frozenset[str] = frozenset()
        self._entries: dict[str, _Entry] = {}
        self._uses = itertools.count()

    @property
    def bytes(self) -> int:
        """The total size of the weights of all versions that are loaded or being loaded."""
        return _size(self._entries.values())

    @property
    def names(self) -> list[str]:
        """The names of all tracked versions. For the log only, because replies must not name other owners' versions."""
        return sorted(entry.name for entry in self._entries.values())

    def reserve(
        self, message: Load, idle: Callable[[str], bool], nbytes: int | None = None, base: Base = SEPARATE
    ) -> list[str]:
        """Reserve memory for another version. Return the digests of the versions that must be unloaded first.

        The version is expected to need `nbytes`, or else the size of its weights file. If it will share a `base` with
        other versions, this is the size without the base, and these versions are not evicted.

        Versions without an alias are evicted first; within each group, the least recently used version is evicted
        first. If busy or required versions leave too little memory, raises Unavailable (`out_of_memory`) and changes
        nothing.
        """
        size = message.bytes if nbytes is None else nbytes
        entry = _Entry(message.name, size, message.aliased, next(self._uses), base)
        kept, evicted = dict(self._entries), list[str]()
        for digest in sorted(self._entries, key=lambda d: (self._entries[d].aliased, self._entries[d].last_use)):
            if _size([*kept.values(), entry]) <= self.limit:
                break
            related = base != SEPARATE and kept[digest].base == base
            if not related and digest not in self.required and idle(digest):
                del kept[digest]
                evicted.append(digest)
        if _size([*kept.values(), entry]) > self.limit:
            raise Unavailable(self._explain(size, _size(kept.values())), code="out_of_memory")
        self._entries[message.digest] = entry
        return evicted

    def _explain(self, nbytes: int, in_use: int) -> str:
        needed = f"it needs {_mib(nbytes)} MiB, but the limit (OSTINATO_MODEL_MEMORY) is {_mib(self.limit)} MiB"
        if nbytes > self.limit:
            return needed
        return f"{needed}, {_mib(in_use)} of which are in use by versions that are busy or required"

    def loaded(self, digest: str, nbytes: int, base: Base = SEPARATE) -> None:
        """Replace the expected size of a version with its actual size.

        `base` contains the identity and the size of weights that the version shares with others. Their memory is
        counted once, and becomes free with the last of these versions.
        """
        entry = self._entries[digest]
        entry.bytes, entry.base = nbytes, base

    def base_of(self, digest: str) -> Base:
        """The weights that a version shares with others, or is expected to share."""
        return self._entries[digest].base

    def keep(self, key: str, name: str, nbytes: int) -> None:
        """Count other memory, which is in use until `release` is called with this key."""
        self._entries[key] = _Entry(name, nbytes, True, next(self._uses))

    def used(self, digest: str) -> None:
        """Record a use of a version."""
        self._entries[digest].last_use = next(self._uses)

    def release(self, digest: str) -> None:
        """Release the memory of a version that has been unloaded or could not be loaded."""
        self._entries.pop(digest, None)


def _size(entries: Collection[_Entry]) -> int:
    return sum(entry.bytes for entry in entries) + sum(nbytes for _, nbytes in {entry.base for entry in entries})


def _mib(nbytes: int) -> int:
    """Return the size in MiB, rounded up."""
    return -(-nbytes // MIB)
