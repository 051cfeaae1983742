"""Checks which versions are unloaded to make room for another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.memory import MIB, Memory
from app.errors import Unavailable
from app.wire.engine import Load


def load(name: str, nbytes: int = 10, aliased: bool = False) -> Load:
    return Load(name, "/nowhere", {}, f"{name}:1", nbytes, aliased)


def filled(*messages: Load, limit: int = 30) -> Memory:
    memory = Memory(limit)
    for message in messages:
        assert memory.reserve(message, lambda _: True) == []
    return memory


def test_the_least_recently_used_is_evicted_first_and_aliased_versions_last() -> None:
    memory = filled(load("a", aliased=True), load("b"), load("c"))
    memory.used("b")
    assert memory.reserve(load("d"), lambda _: True) == ["c"]
    memory.release("c")
    assert memory.reserve(load("e", 20), lambda _: True) == ["b", "d"]


def test_busy_and_required_versions_stay_and_the_error_says_why() -> None:
    memory = filled(load("a"), load("b"), load("c"))
    memory.required = frozenset("a")
    assert memory.reserve(load("d"), lambda digest: digest == "c") == ["c"]
    memory.release("c")
    with pytest.raises(Unavailable) as error:
        memory.reserve(load("e"), lambda digest: digest == "a")
    assert error.value.code == "out_of_memory" and "busy or required" in error.value.message
    assert memory.names == ["a:1", "b:1", "d:1"] and not any(name in error.value.message for name in memory.names)
    with pytest.raises(Unavailable) as error:
        memory.reserve(load("huge", 31), lambda _: True)
    assert "OSTINATO_MODEL_MEMORY" in error.value.message
    assert memory.bytes == 30


def test_idle_versions_do_not_count_as_in_use() -> None:
    memory = filled(load("idle", 10 * MIB), load("busy", 15 * MIB), limit=30 * MIB)
    with pytest.raises(Unavailable, match=r"needs 20 MiB, but the limit .* is 30 MiB, 15 of which are in use"):
        memory.reserve(load("new", 20 * MIB), lambda digest: digest == "idle")


def test_a_version_that_shares_a_base_needs_only_its_own_memory_and_keeps_the_others() -> None:
    memory, base = Memory(30), ("base", 20)
    for name in "ab":
        memory.reserve(load(name, 20 if name == "a" else 1), lambda _: True)
        memory.loaded(name, 1, base)
    assert memory.reserve(load("other", 8), lambda _: True) == [] and memory.bytes == 30
    assert memory.reserve(load("c", 20), lambda _: True, 2, base) == ["other"]
    memory.release("other")
    assert memory.bytes == 24 and memory.base_of("c") == base
    with pytest.raises(Unavailable, match="it needs 1 MiB"):
        memory.reserve(load("d", 20), lambda _: True, 7, base)
    for name in "ab":
        memory.release(name)
    assert memory.bytes == 22  # the base that the version being loaded will use


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.booleans(), st.booleans()), max_size=40))
def test_the_limit_always_holds(loads: list[tuple[int, int, bool, bool]]) -> None:
    memory, present = Memory(100), set[str]()
    for number, nbytes, aliased, idle in loads:
        if str(number) in present:
            memory.used(str(number))
            continue
        try:
            evicted = memory.reserve(load(str(number), nbytes, aliased), lambda _, idle=idle: idle)  # type: ignore[misc]
        except Unavailable:
            continue
        for digest in evicted:
            memory.release(digest)
        present = present.difference(evicted) | {str(number)}
        assert memory.bytes <= 100
