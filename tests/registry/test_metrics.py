"""Large metrics are reduced to the part that the registry stores."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.registry.metrics import OMITTED, PATHS_LIMIT, reduce

NESTED = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.floats() | st.text(max_size=40), lambda inner: st.dictionaries(st.text(max_size=5), inner), max_leaves=8
    ),
)


@settings(max_examples=40)
@given(value=NESTED)
def test_reduced_metrics_fit_and_are_not_reduced_again(value: dict[str, Any]) -> None:
    reduced = reduce({name: inner for name, inner in value.items() if name != OMITTED}, 100)
    kept = {name: inner for name, inner in reduced.items() if name != OMITTED}
    assert len(msgspec.json.encode(kept)) <= 100
    assert reduce(kept, 100) == kept


def test_small_metrics_are_kept() -> None:
    assert reduce({"test": {"accuracy": 0.5, "loss": float("nan")}}) == {"test": {"accuracy": 0.5, "loss": None}}


def test_the_list_of_omitted_parts_is_bounded() -> None:
    assert len(reduce({f"part {n}": "x" * 10 for n in range(1000)}, 10)[OMITTED]) == PATHS_LIMIT


def test_many_small_parts_cost_little() -> None:
    began = time.process_time()
    reduced = reduce({"test": {f"part {n}": 0 for n in range(300_000)}, "loss": 0.5})
    assert reduced["loss"] == 0.5
    assert 1000 < len(reduced["test"]) < 100_000
    assert time.process_time() - began < 30
