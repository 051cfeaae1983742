"""Which versions go when another comes: plain bookkeeping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.memory import Memory
from app.errors import Unavailable
from app.wire.engine import Load


def asked(name: str, nbytes: int = 10, aliased: bool = False) -> Load:
    return Load(name, "/nowhere", {}, f"{name}:1", nbytes, aliased)


def filled(*messages: Load, limit: int = 30) -> Memory:
    memory = Memory(limit)
    for message in messages:
        assert memory.reserve(message, lambda _: True) == []
    return memory


def test_the_least_recently_used_goes_first_and_what_has_an_alias_last() -> None:
    memory = filled(asked("a", aliased=True), asked("b"), asked("c"))
    memory.used("b")
    assert memory.reserve(asked("d"), lambda _: True) == ["c"]
    memory.release("c")
    assert memory.reserve(asked("e", 20), lambda _: True) == ["b", "d"]


def test_what_is_busy_or_required_stays_and_the_newcomer_is_told_why() -> None:
    memory = filled(asked("a"), asked("b"), asked("c"))
    memory.required = frozenset("a")
    assert memory.reserve(asked("d"), lambda digest: digest == "c") == ["c"]
    memory.release("c")
    with pytest.raises(Unavailable) as refused:
        memory.reserve(asked("e"), lambda digest: digest == "a")
    assert refused.value.code == "out_of_memory" and "busy or required" in refused.value.message
    assert memory.names == ["a:1", "b:1", "d:1"] and not any(name in refused.value.message for name in memory.names)
    with pytest.raises(Unavailable) as refused:
        memory.reserve(asked("huge", 31), lambda _: True)
    assert "OSTINATO_MODEL_MEMORY" in refused.value.message
    assert memory.bytes == 30


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.booleans(), st.booleans()), max_size=40))
def test_the_limit_always_holds(loads: list[tuple[int, int, bool, bool]]) -> None:
    memory, there = Memory(100), set[str]()
    for number, nbytes, aliased, idle in loads:
        if str(number) in there:
            memory.used(str(number))
            continue
        try:
            leaving = memory.reserve(asked(str(number), nbytes, aliased), lambda _, idle=idle: idle)  # type: ignore[misc]
        except Unavailable:
            continue
        for digest in leaving:
            memory.release(digest)
        there = there.difference(leaving) | {str(number)}
        assert memory.bytes <= 100
