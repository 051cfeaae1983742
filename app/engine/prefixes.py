"""The prefix cache: a tree that stores the states after prefixes of earlier prompts. Imports no torch.

A state consists of growing tensors, which have one entry per position (keys and values), and fixed tensors, which each
token overwrites. A node stores the part of the state that belongs to the tokens on its edge: their entries in growing
tensors, and the values of fixed tensors after the last of these tokens. Prompts with the same beginning share nodes, so
no position is stored twice.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeAlias, TypeVar

NODE_BYTES = 1024  # an estimate of the memory that a node needs besides its tokens and tensors

TokenArray: TypeAlias = "array[int]"
Key = tuple[str, ...]  # the digest of the version, the principal and the salt


class Segment(Protocol):
    """A part of a sequence's state, such as a `models.snapshot.Snapshot`."""

    @property
    def nbytes(self) -> int: ...

    def cut(self, start: int, stop: int) -> Self:
        """Return a copy of the part from position `start` up to, but not including, position `stop`."""
        ...


S = TypeVar("S", bound=Segment)


@dataclass(slots=True, eq=False)
class _Node(Generic[S]):
    """A node of the tree. The edge from its parent contains `tokens`, the first of which is at position `start`.

    `whole` indicates whether the fixed tensors of `segment` are set. A root has no parent and no segment.
    """

    key: Key
    parent: _Node[S] | None
    start: int
    tokens: TokenArray
    segment: S | None
    whole: bool
    children: dict[int, _Node[S]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def nbytes(self) -> int:
        return NODE_BYTES + self.tokens.itemsize * len(self.tokens) + (self.segment.nbytes if self.segment else 0)


@dataclass(frozen=True, slots=True)
class Prefix(Generic[S]):
    """The cached beginning of a prompt: the state after its first `length` tokens, in consecutive segments.

    `shared` is the number of initial tokens that the prompt shares with an earlier prompt. `shared` exceeds `length` if
    no state is cached for the position at which the two prompts diverge.
    """

    length: int = 0
    segments: tuple[S, ...] = ()
    shared: int = 0


class Prefixes(Generic[S]):
    """The cached states of all of an engine's versions, up to `limit` bytes.

    The least recently used states are evicted first.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes: dict[str, int] = {}  # by the digest of the version
        self.evictions = 0
        self._roots: dict[Key, _Node[S]] = {}
        self._total = 0
        # From the least to the most recently used. A node precedes its ancestors, so the first node is always a leaf.
        self._nodes: OrderedDict[_Node[S], None] = OrderedDict()

    def find(self, key: Key, tokens: TokenArray, most: int, divisible: bool, step: int = 1) -> Prefix[S]:
        """Return the longest cached prefix that has at most `most` tokens and a length that is a multiple of `step`.

        `divisible` indicates whether states can be truncated at any position. Otherwise, only whole nodes can be used.
        """
        path, matched = self._walk(key, tokens)
        shared = min(matched, most) // step * step
        length = shared if divisible else max((n.end for n in path if n.whole and n.end <= shared), default=0)
        used = [node for node in path if node.start < length]
        self._touch(used)
        segments = [node.segment for node in used if node.segment is not None]
        if segments and used[-1].end > length:
            segments[-1] = segments[-1].cut(used[-1].start, length)
        return Prefix(length, tuple(segments), shared)

    def insert(self, key: Key, tokens: TokenArray, take: Callable[[int], S], divisible: bool) -> None:
        """Store the state after `tokens`. `take(start)` returns the part of this state from position `start` on."""
        path, matched = self._walk(key, tokens)
        if path and path[-1].end > matched and not (divisible and matched == len(tokens)):
            path[-1] = self._split(path[-1], matched)
            self._touch(path)
        if matched < len(tokens):
            parent = path[-1] if path else self._roots.setdefault(key, _Node(key, None, 0, array("i"), None, True))
            node = _Node(parent.key, parent, matched, tokens[matched:], take(matched), True)
            parent.children[node.tokens[0]] = node
            self._count(node, node.nbytes)
            path.append(node)
        elif not (divisible or path[-1].whole):
            node = path[-1]
            self._count(node, -node.nbytes)
            node.segment, node.whole = take(node.start), True
            self._count(node, node.nbytes)
        self._touch(path)
        while self._total > self.limit:
            self.evictions += 1
            self._remove(next(iter(self._nodes)))

    def drop(self, digest: str) -> None:
        """Drop a version's states."""
        for node in [node for node in self._nodes if node.key[0] == digest]:
            self._remove(node)
        self.bytes.pop(digest, None)

    def _walk(self, key: Key, tokens: TokenArray) -> tuple[list[_Node[S]], int]:
        """Return the nodes along `tokens` and the number of matching tokens. The last node may match only partially."""
        path: list[_Node[S]] = []
        node, place = self._roots.get(key), 0
        while node is not None and place < len(tokens):
            node = node.children.get(tokens[place])
            if node is not None:
                path.append(node)
                place += _common(node.tokens, tokens[place : node.end])
                if place < node.end:
                    break
        return path, place

    def _split(self, lower: _Node[S], place: int) -> _Node[S]:
        """Split the edge to `lower` at a position, and return the new node at that position."""
        assert lower.parent is not None and lower.segment is not None
        head, tail = lower.tokens[: place - lower.start], lower.tokens[place - lower.start :]
        # Cut first: if memory runs out, the tree must be unchanged.
        first, second = lower.segment.cut(lower.start, place), lower.segment.cut(place, lower.end)
        self._count(lower, -lower.nbytes)
        upper = _Node(lower.key, lower.parent, lower.start, head, first, False)
        lower.parent.children[head[0]] = upper
        lower.parent, lower.segment = upper, second
        lower.start, lower.tokens = place, tail
        upper.children[tail[0]] = lower
        self._count(upper, upper.nbytes)
        self._count(lower, lower.nbytes)
        return upper

    def _touch(self, path: Iterable[_Node[S]]) -> None:
        """Mark the nodes of a path, which begins at the root, as the most recently used."""
        for node in reversed(list(path)):
            self._nodes[node] = None
            self._nodes.move_to_end(node)

    def _count(self, node: _Node[S], nbytes: int) -> None:
        self.bytes[node.key[0]] = self.bytes.get(node.key[0], 0) + nbytes
        self._total += nbytes

    def _remove(self, node: _Node[S]) -> None:
        assert node.parent is not None and not node.children
        del self._nodes[node], node.parent.children[node.tokens[0]]
        self._count(node, -node.nbytes)
        if node.parent.parent is None and not node.parent.children:
            del self._roots[node.key]


def _common(one: TokenArray, other: TokenArray) -> int:
    """Return the length of the two arrays' common prefix."""
    if one == other:
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
