"""Batches depend only on (seed, step), contain every row once per epoch, and have little padding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.training.loop.batches import IGNORED, Batch, RowBatches, StreamBatches, derive, held_out_windows
from app.training.prepare.dataset import Rows, Stream


def rows(lengths: list[int]) -> Rows:
    """Row i contains its number `lengths[i]` times."""
    flat = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return Rows(flat, np.cumsum([0, *lengths], dtype=np.int64), np.arange(len(lengths), dtype=np.int64))


def row_numbers(pieces: list[Batch]) -> list[int]:
    return sorted(int(target) for piece in pieces for target in piece.targets)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=80),
    st.integers(1, 16),
    st.integers(0, 9),
    st.integers(1, 99),
    st.booleans(),
)
def test_an_epoch_holds_every_row_once(
    lengths: list[int], size: int, seed: int, micro_tokens: int, balanced: bool
) -> None:
    data = rows(lengths)
    batches = RowBatches(data, size, seed, limit=30, micro_tokens=micro_tokens, causal=False, balanced=balanced)
    assert batches.steps_per_epoch == -(-len(lengths) // size)
    seen: Counter[int] = Counter()
    for step in range(batches.steps_per_epoch):
        pieces = batches.pieces(step)
        seen.update(row_numbers(pieces))
        for piece in pieces:
            assert piece.inputs.shape[0] == 1 or piece.inputs.numel() <= micro_tokens
            for ids_T, length, row in zip(piece.inputs, piece.lengths_B, piece.targets, strict=True):
                assert int(length) == min(lengths[int(row)], 30)
                assert (ids_T[:length] == row).all() and (ids_T[length:] == 0).all()
    assert seen == Counter(range(len(lengths)))


def test_the_batches_of_a_step_do_not_depend_on_earlier_steps() -> None:
    data = rows([1 + n % 17 for n in range(100)])
    first, second = (RowBatches(data, 8, 3, limit=99, micro_tokens=999, causal=False) for _ in range(2))
    whole = [row_numbers(first.pieces(step)) for step in range(40)]
    assert [row_numbers(second.pieces(step)) for step in (39, 0, 20)] == [whole[39], whole[0], whole[20]]
    assert whole[0] != whole[first.steps_per_epoch]
    assert derive(1, "step", 2) != derive(1, "step", 3) != derive(2, "step", 3)


def test_batches_contain_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 5000).tolist()
    batches = RowBatches(rows(lengths), 32, 0, limit=99, micro_tokens=10**6, causal=False)
    pieces = [piece for step in range(batches.steps_per_epoch) for piece in batches.pieces(step)]
    assert sum(p.tokens for p in pieces) / sum(p.inputs.numel() for p in pieces) > 0.9


def test_balanced_batches_take_about_the_same_time() -> None:
    lengths = (np.random.default_rng(0).pareto(1.5, 4000) * 30 + 1).astype(int).clip(1, 400)

    def padded(balanced: bool) -> list[int]:
        batches = RowBatches(rows(lengths.tolist()), 32, 0, limit=999, micro_tokens=10**6, causal=False,
                             balanced=balanced)  # fmt: skip
        pieces = [piece for step in range(batches.steps_per_epoch) for piece in batches.pieces(step)]
        assert not balanced or sum(p.tokens for p in pieces) / sum(p.inputs.numel() for p in pieces) > 0.9
        return [piece.inputs.numel() for piece in pieces]

    equal_rows, balanced = padded(False), padded(True)
    assert max(equal_rows) > 8 * np.median(equal_rows) and max(balanced) < 4 * np.median(balanced)


@settings(max_examples=60)
@given(st.integers(2, 500), st.integers(1, 40), st.integers(1, 8), st.integers(0, 5))
def test_windows_are_parts_of_the_text_and_hardly_overlap(length: int, window: int, size: int, seed: int) -> None:
    batches = StreamBatches(Stream(np.arange(length, dtype=np.int32), 0), size, seed, window=window, micro_tokens=64)
    starts = []
    for step in range(batches.steps_per_epoch * 2):
        for piece in batches.pieces(step):
            assert (piece.targets == piece.inputs + 1).all()
            assert piece.inputs.shape[1] == batches.window
            starts += piece.inputs[:, 0].tolist()
    assert len(set(starts[: len(starts) // 2])) >= len(starts) // 2 - 1


@pytest.mark.parametrize(("length", "size"), [(161, 4), (161, 8), (175, 8)])
def test_the_end_of_a_text_is_used_as_often_as_its_beginning(length: int, size: int) -> None:
    batches = StreamBatches(Stream(np.arange(length, dtype=np.int32), 0), size, 3, window=10, micro_tokens=10**6)
    used_T = np.zeros(length)
    for step in range(batches.steps_per_epoch * 1000):
        for piece in batches.pieces(step):
            used_T += np.bincount(piece.inputs.flatten().numpy(), minlength=length)
    assert used_T[:20].sum() == pytest.approx(used_T[-21:-1].sum(), rel=0.05)


@settings(max_examples=100)
@given(st.integers(2, 300), st.integers(0, 40), st.integers(2, 50), st.integers(0, 30), st.integers(1, 5))
def test_every_held_out_token_is_predicted_once(
    length: int, context: int, window: int, overlap: int, rows: int
) -> None:
    context = min(context, length - 1)
    overlap = min(overlap, window - 1)
    stream = Stream(np.arange(length, dtype=np.int32), 0, context)
    seen: list[int] = []
    for batch in held_out_windows(stream, window, overlap, rows):
        for ids_T, n, targets_T in zip(batch.inputs, batch.lengths_B, batch.targets, strict=True):
            counted = targets_T != IGNORED
            assert not counted[int(n) :].any()
            assert (targets_T[counted] == ids_T[counted] + 1).all()
            first = int(counted.nonzero()[0])
            assert first >= min(overlap, int(ids_T[first]))  # the tokens before it in the window
            seen += targets_T[counted].tolist()
    assert seen == list(range(max(1, context), length))


def test_completions_that_are_too_long_lose_their_beginning() -> None:
    learned = (np.arange(10) >= 6).astype(np.uint8)
    data = Rows(np.arange(10, dtype=np.int32), np.asarray([0, 10]), np.zeros(0), learned)
    batch = RowBatches(data, 1, 0, limit=20, micro_tokens=99, causal=True).gather([0])
    assert batch.inputs.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8]]
    assert batch.targets.tolist() == [[IGNORED] * 5 + [6, 7, 8, 9]]
    cut = RowBatches(data, 1, 0, limit=5, micro_tokens=99, causal=True).gather([0])
    assert cut.inputs.tolist() == [[4, 5, 6, 7, 8]] and cut.targets.tolist() == [[IGNORED, 6, 7, 8, 9]]
    assert torch.equal(cut.lengths_B, torch.tensor([5]))
