"""Tracks the parts (scorers and decoders) that have work, and chooses the next part to run. Imports no torch.

`Active` and `Turns` contain only parts that have work, so idle versions do not slow down a step. In a `TurnQueue`, the
owners of items take turns in the same way.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Busy(Protocol):
    """A part that can have open requests."""

    @property
    def busy(self) -> bool: ...


class Queued(Protocol):
    """A part whose rows can wait for a batch."""

    @property
    def queued(self) -> bool: ...


B = TypeVar("B", bound=Busy)
Q = TypeVar("Q", bound=Queued)
T = TypeVar("T")


class Active(Generic[B]):
    """The parts with open requests, in the order in which they became active. Call `add` after each new request.

    An iteration drops idle parts, so that later iterations do not visit them.
    """

    def __init__(self) -> None:
        self._parts: dict[B, None] = {}

    def add(self, part: B) -> None:
        self._parts[part] = None

    def discard(self, part: B) -> None:
        """Remove a part whose version has been unloaded."""
        self._parts.pop(part, None)

    def __iter__(self) -> Iterator[B]:
        for part in list(self._parts):
            if part.busy:
                yield part
            else:
                self._parts.pop(part, None)

    def __bool__(self) -> bool:
        while self._parts:
            first = next(iter(self._parts))
            if first.busy:
                return True
            del self._parts[first]
        return False


class Turns(Generic[Q]):
    """Schedules the parts that have queued rows. The part that has waited longest since its last turn is next.

    While a part waits, every other part gets at most one turn, so no version can delay another for long. Call `add`
    after each new request. The parts are kept in a heap, ordered by their last turn (0 before the first), then by
    arrival. A part whose queue has become empty is dropped when it reaches the top.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Q]] = []
        self._in_heap: set[Q] = set()
        self._last_turn: dict[Q, int] = {}  # the last turn of each part that has had one; removed by `discard`
        self._turn = 0
        self._arrivals = itertools.count()  # unique, so that parts are never compared

    def add(self, part: Q) -> None:
        """Add a part to the queue unless it is already queued. The position of the part depends on its last turn."""
        if part not in self._in_heap:
            self._in_heap.add(part)
            heapq.heappush(self._heap, (self._last_turn.get(part, 0), next(self._arrivals), part))

    def discard(self, part: Q) -> None:
        """Remove a part permanently. Takes time linear in the number of parts that have work."""
        self._last_turn.pop(part, None)
        if part in self._in_heap:
            self._in_heap.remove(part)
            self._heap = [entry for entry in self._heap if entry[2] is not part]
            heapq.heapify(self._heap)

    def __bool__(self) -> bool:
        """Whether a part has queued rows."""
        while self._heap and not self._heap[0][2].queued:
            self._in_heap.remove(heapq.heappop(self._heap)[2])
        return bool(self._heap)

    def take(self) -> Q | None:
        """Return the part whose turn is next, and move it behind all others. Return None if no part has queued rows."""
        if not self:
            return None
        self._turn += 1
        part = self._heap[0][2]
        self._last_turn[part] = self._turn
        heapq.heapreplace(self._heap, (self._turn, next(self._arrivals), part))
        return part


class TurnQueue(Generic[T]):
    """A queue of distinct items whose owners take turns. The items of one owner leave in order of arrival.

    While an owner waits, every other owner gets at most one turn.
    """

    def __init__(self, owner: Callable[[T], str]) -> None:
        """`owner` returns the owner of an item."""
        self._owner = owner
        # Ordered dictionaries, because any item may be removed, and removing a key takes constant time.
        self._queues: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        """The number of items. Safe to call from another thread."""
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items in the order in which they will leave."""
        for round_ in itertools.zip_longest(*self._queues.values()):
            yield from (item for item in round_ if item is not None)

    def add(self, item: T) -> None:
        """Append an item to the items of its owner."""
        self._queues.setdefault(self._owner(item), OrderedDict())[item] = None
        self._length += 1

    def pop(self) -> T:
        """Remove and return the next item, and move its owner behind all others."""
        owner, queue = next(iter(self._queues.items()))
        item = next(iter(queue))
        self._queues.move_to_end(owner)
        self.remove(item)
        return item

    def remove(self, item: T) -> None:
        """Remove an item if it is in the queue."""
        owner = self._owner(item)
        queue = self._queues.get(owner)
        if queue is None or item not in queue:
            return
        del queue[item]
        self._length -= 1
        if not queue:
            del self._queues[owner]

    def clear(self) -> None:
        """Remove all items."""
        self._queues.clear()
        self._length = 0
