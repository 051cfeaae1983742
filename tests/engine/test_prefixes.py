"""Compares the tree of prefixes with a plain list of all saved states."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.prefixes import NODE_BYTES, Prefixes

KEY = ("version", "ann", "")
TOKEN_BYTES = 10  # the size of a position in the segments of these tests
NEVER = 2**60


@dataclass(frozen=True, slots=True)
class Text:
    """A segment of a state that consists of the tokens at its positions.

    `last` stands for the fixed tensors. It contains all tokens up to the end, or is None if they are unknown.
    """

    start: int
    tokens: tuple[int, ...]
    last: tuple[int, ...] | None

    @property
    def nbytes(self) -> int:
        return TOKEN_BYTES * len(self.tokens)

    def cut(self, start: int, stop: int) -> Text:
        last = self.last if stop == self.start + len(self.tokens) else None
        return Text(start, self.tokens[start - self.start : stop - self.start], last)


def insert(cache: Prefixes[Text], tokens: list[int], divisible: bool = True, key: tuple[str, ...] = KEY) -> None:
    def take(start: int) -> Text:
        return Text(start, tuple(tokens[start:]), tuple(tokens))

    cache.insert(key, array("i", tokens), take, divisible)


def length(cache: Prefixes[Text], tokens: list[int], divisible: bool = True, key: tuple[str, ...] = KEY) -> int:
    return cache.find(key, array("i", tokens), len(tokens), divisible).length


texts = st.lists(st.integers(0, 1), min_size=1, max_size=9)


@given(st.booleans(), st.lists(texts, max_size=12), texts, st.integers(0, 9), st.sampled_from([1, 3]))
@settings(max_examples=300)
def test_the_longest_usable_prefix_is_found(
    divisible: bool, saved: list[list[int]], asked: list[int], most: int, step: int
) -> None:
    cache: Prefixes[Text] = Prefixes(NEVER)
    for tokens in saved:
        insert(cache, tokens, divisible)
    prefix = cache.find(KEY, array("i", asked), most, divisible, step)
    common = [next(i for i in range(10) if old[: i + 1] != asked[: i + 1] or i == len(asked)) for old in saved]
    shared = min(max(common, default=0), most) // step * step
    whole = [len(old) for old in saved if old == asked[: len(old)] and len(old) <= shared]
    assert prefix.shared == shared
    assert prefix.length == (shared if divisible else max(whole, default=0))
    assert [token for part in prefix.segments for token in part.tokens] == asked[: prefix.length]
    if not divisible and prefix.length:
        assert prefix.segments[-1].last == tuple(asked[: prefix.length])


@given(st.booleans(), st.lists(texts, max_size=30), st.integers(0, 6))
@settings(max_examples=200)
def test_the_size_is_counted_and_bounded(divisible: bool, saved: list[list[int]], nodes: int) -> None:
    limit = nodes * (NODE_BYTES + 60)
    cache: Prefixes[Text] = Prefixes(limit)
    for tokens in saved:
        insert(cache, tokens, divisible)
        size = sum(node.nbytes for node in cache._nodes)
        assert size == sum(cache.bytes.values()) <= limit
        assert bool(cache._roots) == bool(cache._nodes)
    cache.drop("version")
    assert not cache._nodes and not cache._roots and not cache.bytes


@pytest.mark.parametrize("divisible", [True, False])
def test_no_position_is_stored_twice(divisible: bool) -> None:
    cache: Prefixes[Text] = Prefixes(NEVER)
    insert(cache, [1, 2, 3, 4], divisible)
    insert(cache, [1, 2, 5], divisible)
    insert(cache, [1, 2, 3], divisible)
    positions = sum(len(node.segment.tokens) for node in cache._nodes if node.segment)
    assert positions == 5


def test_the_least_recently_used_state_is_evicted_first() -> None:
    node = NODE_BYTES + 2 * (TOKEN_BYTES + 4)
    cache: Prefixes[Text] = Prefixes(3 * node)
    for tokens in ([1, 1], [2, 2], [3, 3]):
        insert(cache, tokens)
    assert length(cache, [1, 1]) == 2
    insert(cache, [4, 4])
    assert [length(cache, [i, i]) for i in (1, 2, 3, 4)] == [2, 0, 2, 2]
    assert cache.evictions == 1


def test_a_prefix_outlives_its_continuations() -> None:
    cache: Prefixes[Text] = Prefixes(NEVER)
    insert(cache, [1, 2])
    insert(cache, [1, 2, 3])
    cache.limit = sum(cache.bytes.values()) - 1
    insert(cache, [1, 2])
    assert length(cache, [1, 2, 3]) == 2


def test_a_state_that_is_larger_than_the_cache_is_not_kept() -> None:
    cache: Prefixes[Text] = Prefixes(NODE_BYTES + 100)
    insert(cache, [1] * 50)
    assert length(cache, [1] * 50) == 0 and not cache._nodes


def test_versions_principals_and_salts_share_nothing() -> None:
    cache: Prefixes[Text] = Prefixes(NEVER)
    insert(cache, [1, 2, 3])
    others = [("other", "ann", ""), ("version", "bob", ""), ("version", "ann", "salt")]
    assert [length(cache, [1, 2, 3], key=key) for key in others] == [0, 0, 0]
    insert(cache, [1, 2, 3], key=others[0])
    cache.drop("version")
    assert length(cache, [1, 2, 3]) == 0
    assert length(cache, [1, 2, 3], key=others[0]) == 3


def test_a_failed_copy_leaves_a_tree_that_still_works() -> None:
    cache: Prefixes[Text] = Prefixes(NEVER)
    insert(cache, [1, 2, 3, 4], divisible=False)

    def fail(start: int) -> Text:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        cache.insert(KEY, array("i", [1, 2, 5]), fail, False)
    assert length(cache, [1, 2, 3, 4], divisible=False) == 4
    cache.limit = 0
    insert(cache, [6])
    assert not cache._nodes and not any(cache.bytes.values())
