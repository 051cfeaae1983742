"""All that a body remembers between calls, for some slots: written once, for every architecture.

Knows how tensors are kept, grown, moved and taken out. Knows no network: a body only declares its tensors.
Beyond a slot's position a growing tensor is zero, always: what is masked can then never be a NaN of a former owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

POSITIONS = -1  # in a declared shape: the dimension that grows, one entry a position
FIRST_SLOTS, FIRST_POSITIONS = 4, 64  # allocated before anything asks for more

Layers = tuple[tuple[Tensor, ...], ...]
Shape = tuple[int, ...]  # of one slot's part of a tensor, for example (width,) or (groups, POSITIONS, head width)


class StateFull(ValueError):
    """More positions are asked for than the network can ever hold."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One slot's memory, outside of every slot. Growing tensors are cut at `position`."""

    layers: Layers
    position: int

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)


@dataclass(slots=True)
class _Storage:
    """The tensors themselves, shared by a state and every view of it."""

    shapes: tuple[tuple[Shape, ...], ...]
    slots: int
    limit: int | None
    dtype: torch.dtype
    device: torch.device
    positions: list[int]
    layers: list[tuple[Tensor, ...]]  # empty until something is stored
    rows: int = 0
    capacity: int = 0
    views: dict[tuple[int, int], Layers] = field(default_factory=dict)

    def reserve(self, rows: int, positions: int) -> None:
        """Make room by doubling, so that a token costs constant time on average and memory follows use."""
        if rows <= self.rows and positions <= self.capacity:
            return
        if self.limit is not None and positions > self.limit:
            raise StateFull(f"{positions} positions are needed, but the context length is {self.limit}")
        self.rows = min(_doubled(self.rows or FIRST_SLOTS, rows), self.slots)
        capacity = _doubled(self.capacity or FIRST_POSITIONS, positions)
        self.capacity = capacity if self.limit is None else min(capacity, self.limit)
        # Plain tensors, also when called while serving: a view made in inference mode could not be written elsewhere.
        with torch.inference_mode(False), torch.no_grad():
            for layer, shapes in enumerate(self.shapes):
                old = self.layers[layer] or (None,) * len(shapes)
                # One layer at a time, so that old and new tensors of one layer at most are held at once.
                self.layers[layer] = tuple(self._grown(s, t) for s, t in zip(shapes, old, strict=True))
        self.views.clear()

    def view(self, start: int, slots: int) -> Layers:
        """The tensors of a range of slots; kept, since a decode step asks for the same range again and again."""
        if (start, slots) not in self.views:
            self.reserve(start + slots, 0)
            with torch.inference_mode(False), torch.no_grad():
                self.views[start, slots] = tuple(
                    tuple(t.narrow(0, start, slots) for t in layer) for layer in self.layers
                )
        return self.views[start, slots]

    def _grown(self, shape: Shape, old: Tensor | None) -> Tensor:
        sizes = [self.capacity if size == POSITIONS else size for size in shape]
        new = torch.zeros([self.rows, *sizes], dtype=self.dtype, device=self.device)
        if old is not None:
            new[tuple(slice(size) for size in old.shape)] = old
        return new


def _doubled(size: int, needed: int) -> int:
    while size < needed:
        size *= 2
    return size


class State:
    """The memory of `slots` running sequences; `layers[l]` are layer l's tensors, dimension 0 is the slot.

    `positions[b]` is how many steps slot b has seen. A view (`narrow`) shares tensors and positions with its origin.
    Slots are numbered from 0 within the view. `limit` bounds the positions (None: a recurrent network has no bound).
    """

    def __init__(self, storage: _Storage, start: int, slots: int) -> None:
        self._storage, self._start, self.slots = storage, start, slots

    @classmethod
    def new(
        cls,
        shapes: Sequence[Sequence[Shape]],
        slots: int,
        *,
        limit: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> State:
        """Declare the tensors of every layer, for `slots` slots; they are allocated as they are used."""
        if slots < 1:
            raise ValueError("a state needs at least one slot")
        declared = tuple(tuple(layer) for layer in shapes)
        layers: list[tuple[Tensor, ...]] = [()] * len(declared)
        return cls(_Storage(declared, slots, limit, dtype, torch.device(device), [0] * slots, layers), 0, slots)

    @property
    def layers(self) -> Layers:
        """Each layer's tensors, narrowed to this view's slots; writing to them writes the state."""
        return self._storage.view(self._start, self.slots)

    @property
    def positions(self) -> list[int]:
        return self._storage.positions[self._start : self._start + self.slots]

    @property
    def capacity(self) -> int:
        """How many positions fit before the tensors have to grow."""
        return self._storage.capacity

    @property
    def limit(self) -> int | None:
        return self._storage.limit

    @property
    def dtype(self) -> torch.dtype:
        return self._storage.dtype

    @property
    def nbytes(self) -> int:
        """Bytes allocated for this view's slots (of slots that were never used: none)."""
        rows = max(0, min(self._storage.rows - self._start, self.slots))
        return sum(t.nbytes * rows // t.shape[0] for layer in self._storage.layers for t in layer)

    def narrow(self, start: int, rows: int) -> State:
        """The slots from `start` on, as a view: what is written there is written here."""
        if not 0 <= start <= start + rows <= self.slots:
            raise IndexError(f"slots {start} to {start + rows} of {self.slots}")
        return State(self._storage, self._start + start, rows)

    def reserve(self, positions: int) -> None:
        """Make room for `positions` steps in each slot; raise `StateFull` beyond the limit."""
        self._storage.reserve(self._start + self.slots, positions)

    def advance(self, steps: Sequence[int]) -> None:
        """Row b has now seen steps[b] more."""
        for slot, count in enumerate(steps, self._start):
            self._storage.positions[slot] += count

    def reset(self, slots: Iterable[int] | None = None) -> None:
        """Forget what these slots (None: all) remember."""
        for slot in range(self.slots) if slots is None else slots:
            self._write(slot, None, 0)

    def copy(self, source: int, target: int) -> None:
        """Make `target` remember what `source` remembers (a fork)."""
        if source != target:
            self._write(target, self._read(source), self.positions[source])

    def move(self, source: int, target: int) -> None:
        """Carry a sequence over to another slot; its old slot is empty then."""
        if source != target:
            self.copy(source, target)
            self.reset([source])

    def snapshot(self, slot: int) -> Snapshot:
        layers = tuple(tuple(part.clone() for part in layer) for layer in self._read(slot))
        return Snapshot(layers, self._storage.positions[self._index(slot)])

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        self._write(slot, snapshot.layers, snapshot.position)

    def _index(self, slot: int) -> int:
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        return self._start + slot

    def _parts(self, slot: int, start: int, stop: int) -> Layers:
        """One slot's tensors; of growing ones the positions from `start` to `stop`."""
        shapes = self._storage.shapes
        return tuple(
            tuple(_cut(tensor[slot], shape, start, stop) for tensor, shape in zip(tensors, layer, strict=True))
            for tensors, layer in zip(self._storage.layers, shapes, strict=True)
        )

    def _read(self, slot: int) -> Layers:
        index = self._index(slot)
        self._storage.reserve(index + 1, 0)
        return self._parts(index, 0, self._storage.positions[index])

    def _write(self, slot: int, layers: Sequence[Sequence[Tensor]] | None, position: int) -> None:
        """Replace what a slot remembers (None: by nothing), keeping zero what lies beyond its position."""
        index, positions = self._index(slot), self._storage.positions
        if layers is not None or index < self._storage.rows:
            self._storage.reserve(index + 1, position)
            with torch.no_grad():
                for parts in self._parts(index, 0, max(position, positions[index])):
                    for part in parts:
                        part.zero_()
                for parts, sources in zip(self._parts(index, 0, position), layers or (), strict=layers is not None):
                    for part, source in zip(parts, sources, strict=True):
                        part.copy_(source)
        positions[index] = position


def _cut(tensor: Tensor, shape: Shape, start: int, stop: int) -> Tensor:
    return tensor.narrow(shape.index(POSITIONS), start, stop - start) if POSITIONS in shape else tensor
