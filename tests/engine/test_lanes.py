"""Lanes run in parallel on one core each, and dividing a batch between lanes loses no rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from threading import Barrier, Event

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.lanes import Lanes, share

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(lengths, st.integers(1, 5))
def test_every_row_is_in_one_piece_and_pieces_are_of_similar_size(steps: list[int], count: int) -> None:
    pieces = share(steps, steps, count)
    assert list(chain(*pieces)) == steps
    assert 1 <= len(pieces) <= count and all(pieces)
    if len(pieces) == count:
        assert max(map(sum, pieces)) <= sum(steps) / count + max(steps)


def test_two_rows_are_two_pieces() -> None:
    assert share("ab", [3, 40], 2) == ["a", "b"]
    assert share("ab", [40, 3], 2) == ["a", "b"]


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    before = torch.get_num_threads()
    yield Lanes(2)
    torch.set_num_threads(before)


def test_work_runs_side_by_side_on_one_core_each(lanes: Lanes) -> None:
    meeting, results = Barrier(3, timeout=30), []  # opens only when both lanes and the test have reached it

    def work() -> tuple[int, bool]:
        meeting.wait()
        return torch.get_num_threads(), torch.is_inference_mode_enabled()

    for _ in range(2):
        lanes.start(work, results.append)
    assert (lanes.free, lanes.running) == (0, 2) and lanes.since is not None
    meeting.wait()
    lanes.collect(wait=True)
    assert results == [(1, True), (1, True)]
    assert (lanes.free, lanes.finished, lanes.since) == (2, False, None)
    lanes.widen()
    assert torch.get_num_threads() == 2


def test_a_result_waits_to_be_collected_and_wakes_the_caller() -> None:
    woken, results, go = Event(), [], Event()
    lanes = Lanes(2, woken.set)
    lanes.start(lambda: go.wait(30), results.append)
    lanes.collect()
    assert not results and not lanes.finished and not woken.is_set()
    go.set()
    assert woken.wait(30)
    assert lanes.finished and not results
    lanes.collect()
    assert results == [True] and lanes.running == 0
