"""The memory of running sequences, for every architecture: allocation, growth, views, copies and snapshots.

A body declares the tensors that each layer needs for one slot. *Fixed* tensors (the vectors of an LSTM) are overwritten
at every step. *Growing* tensors (keys and values) have one entry for each position. Growing tensors are always zero
beyond a slot's position, because attention multiplies masked entries by 0, and 0 times a NaN left by an earlier
sequence would be NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.snapshot import Axes, Layers, Snapshot

POSITIONS = -1  # in a declared shape, marks the dimension with one entry per position
FIRST_SLOTS, FIRST_POSITIONS = 4, 64  # the numbers of slots and positions in the first allocation

# The shape of a tensor for one slot, for example (width,) or (groups, POSITIONS, head width).
SlotShape = tuple[int, ...]


class StateFull(ValueError):
    """A sequence needs more positions than the network's context length."""


@dataclass(slots=True)
class _Storage:
    """The tensors shared by a state and its views. Memory is allocated for `rows` slots and `capacity` positions."""

    shapes: tuple[tuple[SlotShape, ...], ...]
    slots: int
    limit: int | None
    dtype: torch.dtype
    device: torch.device
    positions: list[int]
    layers: list[tuple[Tensor, ...]]  # tensors (rows, …); an empty tuple for each layer before the first allocation
    rows: int = 0
    capacity: int = 0
    views: dict[tuple[int, int], Layers] = field(default_factory=dict)

    def reserve(self, rows: int, positions: int) -> None:
        """Allocate at least `rows` slots and `positions` positions. Raises StateFull if `positions` exceeds the limit.

        Sizes are doubled, so that copying costs constant time per token on average.
        """
        if rows <= self.rows and positions <= self.capacity:
            return
        if self.limit is not None and positions > self.limit:
            raise StateFull(f"{positions} positions are needed, but the context length is {self.limit}")
        before = self.rows, self.capacity
        self.rows = min(_doubled(self.rows or FIRST_SLOTS, rows), self.slots)
        capacity = _doubled(self.capacity or FIRST_POSITIONS, positions)
        self.capacity = capacity if self.limit is None else min(capacity, self.limit)
        try:
            self._grow()
        except BaseException:  # out of memory: some layers may have grown, but only their old sizes are used
            self.rows, self.capacity = before
            raise
        finally:
            self.views.clear()  # the cached views belong to the old tensors

    def _grow(self) -> None:
        """Resize the tensors of each layer to the current number of slots and positions."""
        # Switch off inference mode, because a tensor created in inference mode cannot be written to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            for layer, shapes in enumerate(self.shapes):
                old = self.layers[layer] or (None,) * len(shapes)
                # Copy one layer at a time, so that at most one layer is in memory twice.
                self.layers[layer] = tuple(self._grown(s, t) for s, t in zip(shapes, old, strict=True))

    def view(self, start: int, slots: int) -> Layers:
        """Return each layer's tensors for a range of slots.

        The tensors are cached, because decode steps request the same range repeatedly.
        """
        if (start, slots) not in self.views:
            # No positions are reserved here: only the body knows how many steps its call appends.
            self.reserve(start + slots, 0)
            with torch.inference_mode(False), torch.no_grad():
                self.views[start, slots] = tuple(
                    tuple(t.narrow(0, start, slots) for t in layer) for layer in self.layers
                )
        return self.views[start, slots]

    def _grown(self, shape: SlotShape, old: Tensor | None) -> Tensor:
        """Return a tensor of the current size that starts with `old` and is zero elsewhere."""
        sizes = [self.capacity if size == POSITIONS else size for size in shape]
        new = torch.zeros([self.rows, *sizes], dtype=self.dtype, device=self.device)
        if old is not None:
            common = tuple(slice(min(sizes)) for sizes in zip(old.shape, new.shape, strict=True))
            new[common] = old[common]
        return new


def _doubled(size: int, needed: int) -> int:
    while size < needed:
        size *= 2
    return size


class State:
    """The tensors that a body keeps for `slots` running sequences.

    `layers[l]` are the tensors of layer l; their dimension 0 is the slot. `positions[b]` is the number of steps that
    slot b has read. `limit` is the maximum number of positions (None: unlimited, as for a recurrent network). A view
    (`narrow`) shares the tensors and positions of its state, and numbers its slots from 0.
    """

    def __init__(self, storage: _Storage, start: int, slots: int, shown: int | None = None) -> None:
        self._storage, self._start, self.slots, self._shown = storage, start, slots, shown

    @classmethod
    def new(
        cls,
        shapes: Sequence[Sequence[SlotShape]],
        slots: int,
        *,
        limit: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> State:
        """Create a state whose layer l has a tensor (slots, *shape) for every shape in `shapes[l]`.

        Memory is allocated on first use, and only for the slots and positions that are used.
        """
        if slots < 1:
            raise ValueError("a state needs at least one slot")
        declared = tuple(tuple(layer) for layer in shapes)
        layers: list[tuple[Tensor, ...]] = [()] * len(declared)
        return cls(_Storage(declared, slots, limit, dtype, torch.device(device), [0] * slots, layers), 0, slots)

    @property
    def layers(self) -> Layers:
        """The tensors of each layer, for the slots of this view. Writing to these tensors changes the state."""
        return self._storage.view(self._start, self.slots)[: self._shown]

    @property
    def positions(self) -> list[int]:
        """The number of steps that each slot has read. The list is a copy."""
        return self._storage.positions[self._start : self._start + self.slots]

    @property
    def capacity(self) -> int:
        """The number of positions allocated for each slot."""
        return self._storage.capacity

    @property
    def axes(self) -> Axes:
        """For each tensor of a slot, the dimension that has one entry per position. None for a fixed tensor."""
        return tuple(
            tuple(shape.index(POSITIONS) if POSITIONS in shape else None for shape in layer)
            for layer in self._storage.shapes
        )

    @property
    def limit(self) -> int | None:
        """The maximum number of positions per slot, or None if unlimited."""
        return self._storage.limit

    @property
    def dtype(self) -> torch.dtype:
        return self._storage.dtype

    @property
    def nbytes(self) -> int:
        """The number of bytes allocated for the slots of this view."""
        # A tensor is allocated for all slots of the storage, so this view counts its share of the rows.
        rows = max(0, min(self._storage.rows - self._start, self.slots))
        return sum(t.nbytes * rows // t.shape[0] for layer in self._storage.layers for t in layer)

    def narrow(self, start: int, rows: int) -> State:
        """Return a view of `rows` slots, starting at `start`. Raises IndexError if the state has fewer slots."""
        if not 0 <= start <= start + rows <= self.slots:
            raise IndexError(f"slots {start} to {start + rows - 1} are out of range for a state of {self.slots} slots")
        return State(self._storage, self._start + start, rows, self._shown)

    def extended(self, *shapes: SlotShape) -> State:
        """Return an empty state with an additional layer, which has a tensor (slots, *shape) for every shape."""
        own = self._storage
        return State.new([*own.shapes, shapes], self.slots, limit=own.limit, dtype=own.dtype, device=own.device)

    def without_last_layer(self) -> State:
        """Return a view of the same slots without the last layer, which `extended` added."""
        return State(self._storage, self._start, self.slots, -1)

    def reserve(self, positions: int) -> None:
        """Allocate at least `positions` positions in each slot. Raises `StateFull` if they exceed the limit."""
        self._storage.reserve(self._start + self.slots, positions)

    def advance(self, steps: Sequence[int]) -> None:
        """Record that slot b has read steps[b] additional steps."""
        # Positions are Python integers: reading them from a tensor on a GPU would make the host wait at every step.
        for slot, count in enumerate(steps, self._start):
            self._storage.positions[slot] += count

    def reset(self, slots: Iterable[int] | None = None) -> None:
        """Empty the given slots, or all slots if `slots` is None."""
        for slot in range(self.slots) if slots is None else slots:
            self._write(slot, None, 0)

    def copy(self, source: int, target: int) -> None:
        """Overwrite slot `target` with a copy of slot `source`, to continue the sequence in both slots."""
        if source != target:
            self._write(target, self._read(source), self.positions[source])

    def move(self, source: int, target: int) -> None:
        """Move a sequence to another slot, overwriting that slot. The old slot becomes empty."""
        if source != target:
            self.copy(source, target)
            self.reset([source])

    def snapshot(self, slot: int, start: int = 0) -> Snapshot:
        """Return an independent copy of a slot's state. Growing tensors are copied from position `start` on."""
        layers = tuple(tuple(part.clone() for part in layer) for layer in self._read(slot, start))
        return Snapshot(layers, self._storage.positions[self._index(slot)], self.axes, start)

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Overwrite a slot with a snapshot of any slot. The snapshot must start at position 0."""
        self._write(slot, snapshot.layers, snapshot.position)

    def _index(self, slot: int) -> int:
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} is out of range for a state of {self.slots} slots")
        return self._start + slot

    def _parts(self, slot: int, start: int, stop: int) -> Layers:
        """Return views of the tensors of one slot.

        Growing tensors contain only the positions from `start` to `stop`.
        """
        shapes = self._storage.shapes
        return tuple(
            tuple(_cut(tensor[slot], shape, start, stop) for tensor, shape in zip(tensors, layer, strict=True))
            for tensors, layer in zip(self._storage.layers, shapes, strict=True)
        )

    def _read(self, slot: int, start: int = 0) -> Layers:
        index = self._index(slot)
        self._storage.reserve(index + 1, 0)  # a slot that has never been written has no tensors yet
        return self._parts(index, start, self._storage.positions[index])

    def _write(self, slot: int, layers: Sequence[Sequence[Tensor]] | None, position: int) -> None:
        """Overwrite a slot with `layers` (or empty it if None), and zero everything beyond its new position."""
        index, positions = self._index(slot), self._storage.positions
        # A slot that is not allocated does not need to be emptied, because new tensors are zero.
        if layers is not None or index < self._storage.rows:
            # This may replace the tensors. Views of the old ones in `layers` stay valid, because growing copies values.
            self._storage.reserve(index + 1, position)
            with torch.no_grad():
                # Positions that this slot has never reached are zero already, and are not written again. Clearing the
                # whole capacity would make the reset of a short sequence as expensive as the reset of the longest one.
                for parts in self._parts(index, 0, max(position, positions[index])):
                    for part in parts:
                        part.zero_()
                for parts, sources in zip(self._parts(index, 0, position), layers or (), strict=layers is not None):
                    for part, source in zip(parts, sources, strict=True):
                        part.copy_(source)
        positions[index] = position


def _cut(tensor: Tensor, shape: SlotShape, start: int, stop: int) -> Tensor:
    return tensor.narrow(shape.index(POSITIONS), start, stop - start) if POSITIONS in shape else tensor
