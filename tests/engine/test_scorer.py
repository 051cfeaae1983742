"""Scoring batches: order, independence of rows, errors, numeric input and vectors."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest
import torch

from app.engine.limits import StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.reply import Counters
from app.engine.runner import Scaling
from app.engine.scorer import BACKGROUND_ROWS, Scorer
from app.engine.version import assemble
from app.wire import engine as wire
from models.config import ModelConfig
from tests.engine import builders as b

SHAPES = [
    b.config("rnn", "classification", pooling="last"),
    b.config("lstm", "classification", bidirectional=True, pooling="max"),
    b.config("gru", "multilabel", pooling="attention"),
    b.config("transformer", "classification"),
]


def start(
    shape: ModelConfig, *, limit: int = 4096, alone: bool = False, scaling: Scaling | None = None, network: Any = None,
    target: Scaling | None = None,
) -> tuple[Scorer, Scorer, b.Replies]:  # fmt: skip
    built = network or b.network(shape)
    loaded = LoadedNetwork("d", "m:1", shape, built, 0, torch.float32, b.CPU, None, scaling, target)
    replies = b.Replies()
    parts = assemble(loaded, StepLimits(limit, 4, 16, alone), replies, Counters()).parts
    scorer, embedder = parts[wire.Score], parts[wire.Embed]
    assert isinstance(scorer, Scorer) and isinstance(embedder, Scorer)
    return scorer, embedder, replies


def texts(count: int, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [rng.choices(range(b.VOCABULARY), k=rng.randint(1, b.CONTEXT)) for _ in range(count)]


def ask(id: str, sequences: list[list[int]], deadline: float | None = None) -> wire.Score:
    return wire.Score(id, "d", "local", sequences, deadline=deadline)


def test_background_rows_wait_for_all_others_and_run_in_small_batches() -> None:
    shape = SHAPES[0]
    scorer, _, replies = start(shape)
    slow = texts(20, seed=3)
    scorer.add(b.PEER, wire.Score("behind", "d", "local", slow, background=True))
    assert scorer.queued and len(scorer.take()) <= BACKGROUND_ROWS  # a later request would have to wait for this batch
    scorer.add(b.PEER, ask("front", texts(3, seed=4)))
    while (batch := scorer.take())[0].request.id == "front":
        assert {item.request.id for item in batch} == {"front"}
    assert 1 <= len(batch) <= BACKGROUND_ROWS and scorer.queued
    assert scorer.abort(b.PEER, "behind") and not scorer.queued
    scorer.add(b.PEER, wire.Score("again", "d", "local", slow, background=True))
    drain(scorer)
    for scores, row in zip(replies.final("again").scores, slow, strict=True):
        assert scores == pytest.approx(plain(b.network(shape), row), abs=1e-4)


def drain(scorer: Scorer) -> int:
    steps = 0
    with torch.inference_mode():
        while scorer.step():
            steps += 1
    return steps


def plain(built: Any, text: list[int]) -> list[float]:
    with torch.inference_mode():
        return built(torch.tensor([text]), torch.tensor([len(text)]))[0].tolist()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.architecture)
def test_scores_come_in_order_and_equal_one_text_at_a_time(shape: ModelConfig) -> None:
    scorer, _, replies = start(shape, limit=300)
    requests = {f"r{i}": texts(1 + i % 5, seed=i) for i in range(12)}
    for id, rows in requests.items():
        scorer.add(b.PEER, ask(id, rows))
    assert drain(scorer) > 1
    built = b.network(shape)
    for id, rows in requests.items():
        for scores, row in zip(replies.final(id).scores, rows, strict=True):
            assert scores == pytest.approx(plain(built, row), abs=1e-4)
    assert not scorer.busy and scorer.waiting == 0


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.architecture)
def test_invariant_mode_is_bit_exact_in_a_crowd(shape: ModelConfig) -> None:
    text = texts(1, seed=99)
    alone, _, first = start(shape, alone=True)
    alone.add(b.PEER, ask("x", text))
    drain(alone)
    crowd, _, second = start(shape, alone=True)
    crowd.add(b.PEER, ask("others", texts(9)))
    crowd.add(b.PEER, ask("x", text))
    drain(crowd)
    assert first.final("x").scores == second.final("x").scores


def test_vectors_have_unit_length_and_ignore_neighbours() -> None:
    _, embedding, replies = start(SHAPES[3])
    rows = texts(5)
    embedding.add(b.PEER, wire.Embed("e", "d", "local", rows))
    drain(embedding)
    built = b.network(SHAPES[3])
    for vector, row in zip(replies.final("e").scores, rows, strict=True):
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
        with torch.inference_mode():
            expected = built.embed(torch.tensor([row]), torch.tensor([len(row)]))[0].tolist()
        assert vector == pytest.approx(expected, abs=1e-4)


def some_series() -> list[tuple[np.ndarray, wire.FeatureSequence]]:
    """The values and the wire format of three sequences of three features, with mean 5 and standard deviation 3."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(5.0, 3.0, (steps, 3)).astype("<f4") for steps in (4, 9, 1)]
    return [(values, wire.FeatureSequence(*values.shape, values.tobytes())) for values in rows]


def test_numeric_sequences_are_normalised_and_values_scaled_back() -> None:
    shape = b.config("gru", "regression", input="features")
    scorer, _, replies = start(shape, scaling=Scaling([5.0] * 3, [3.0] * 3), target=Scaling([100.0], [10.0]))
    rows = some_series()
    scorer.add(b.PEER, wire.Score("x", "d", "local", features=[row for _, row in rows]))
    drain(scorer)
    built = b.network(shape)
    for (values, _), scores in zip(rows, replies.final("x").scores, strict=True):
        with torch.inference_mode():
            raw = float(built(torch.from_numpy((values - 5) / 3)[None], torch.tensor([len(values)])))
        assert scores == pytest.approx([raw * 10 + 100], abs=1e-3)


def test_a_large_target_keeps_its_digits() -> None:
    """Near 1.8e9, the numbers of float32 are 128 apart."""
    shape, mean, std = b.config("gru", "regression"), 1_795_000_000.0, 57_735.0
    scorer, _, replies = start(shape, target=Scaling([mean], [std]))
    rows = texts(20)
    scorer.add(b.PEER, ask("x", rows))
    drain(scorer)
    expected = [[raw * std + mean for raw in plain(b.network(shape), row)] for row in rows]
    for scores, exact in zip(replies.final("x").scores, expected, strict=True):
        assert scores == pytest.approx(exact, rel=0, abs=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mean_is_subtracted_in_the_number_type_of_the_version(dtype: str) -> None:
    """In earlier releases, the API sent numbers as float32. Versions from that time still use float32, so their answers
    do not change."""
    shape, base = b.config("gru", "regression", input="features"), 123_456_700.0
    scorer, _, replies = start(shape, scaling=Scaling([base] * 3, [3.0] * 3, dtype))
    values = np.random.default_rng(0).normal(base, 3.0, (7, 3))
    narrow = wire.FeatureSequence(7, 3, values.astype("<f4").tobytes())
    wide = wire.FeatureSequence(7, 3, values.astype("<f8").tobytes(), "f8")
    scorer.add(b.PEER, wire.Score("x", "d", "local", features=[narrow, wide]))
    drain(scorer)
    built = b.network(shape)
    expected = []
    for steps in (values.astype(np.float32), values):
        scaled = ((steps.astype(dtype) - np.array(base, dtype)) / np.array(3.0, dtype)).astype(np.float32)
        with torch.inference_mode():
            expected.append(float(built(torch.from_numpy(scaled)[None], torch.tensor([7]))))
    assert [score for (score,) in replies.final("x").scores] == pytest.approx(expected, abs=1e-6)
    assert (abs(expected[0] - expected[1]) < 1e-6) == (dtype == "float32")


def test_vectors_of_numeric_sequences_are_computed_from_normalised_values() -> None:
    shape = b.config("transformer", "classification", input="features")
    _, embedding, replies = start(shape, scaling=Scaling([5.0] * 3, [3.0] * 3))
    rows = some_series()
    embedding.add(b.PEER, wire.Embed("x", "d", "local", features=[row for _, row in rows]))
    drain(embedding)
    built = b.network(shape)
    for (values, _), vector in zip(rows, replies.final("x").scores, strict=True):
        with torch.inference_mode():
            expected = built.embed(torch.from_numpy((values - 5) / 3)[None], torch.tensor([len(values)]))[0].tolist()
        assert vector == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (ask("x", []), "invalid_request"),
        (ask("x", [[1], []]), "invalid_request"),
        (ask("x", [[b.VOCABULARY]]), "invalid_request"),
        (ask("x", [[-1]]), "invalid_request"),
        (ask("x", [[1] * (b.CONTEXT + 1)]), "context_length_exceeded"),
        (wire.Score("x", "d", "local", features=[wire.FeatureSequence(1, 1, b"\0\0\0\0")]), "invalid_request"),
    ],
)
def test_invalid_requests_are_refused(message: wire.Score, code: str) -> None:
    scorer, _, replies = start(SHAPES[0])
    scorer.add(b.PEER, message)
    assert replies.final("x").code == code
    assert not scorer.busy


def test_numeric_bytes_must_fit_their_shape() -> None:
    scorer, _, replies = start(b.config("rnn", "classification", input="features"))
    for id_, sequence in (
        ("short", wire.FeatureSequence(2, 3, b"\0" * 23)),
        ("narrow", wire.FeatureSequence(2, 3, b"\0" * 24, "f8")),
        ("other", wire.FeatureSequence(2, 3, b"\0" * 12, "f2")),
    ):
        scorer.add(b.PEER, wire.Score(id_, "d", "local", features=[sequence]))
        assert replies.final(id_).code == "invalid_request"


class Faulty:
    """A classifier that raises an error for token id 7, or returns NaN for its row."""

    def __init__(self, inner: Any, kind: str) -> None:
        self.inner, self.kind, self.embed = inner, kind, inner.embed

    def __call__(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        hit_BT = ids_BT == 7
        if self.kind == "raises" and hit_BT.any():
            raise RuntimeError("boom at /secret/path")
        return self.inner(ids_BT, lengths_B).masked_fill(hit_BT.any(1)[:, None], float("nan"))


@pytest.mark.parametrize(("kind", "code"), [("raises", "engine_failed"), ("nan", "not_finite")])
def test_an_error_fails_only_the_request_that_caused_it(kind: str, code: str) -> None:
    scorer, _, replies = start(SHAPES[0], network=Faulty(b.network(SHAPES[0]), kind))
    scorer.add(b.PEER, ask("good", [[1, 2, 3], [4, 5]]))
    scorer.add(b.PEER, ask("bad", [[1, 2], [7, 1], [3, 4], [7]]))
    scorer.add(b.PEER, ask("also good", [[1, 2, 4]]))
    drain(scorer)
    assert replies.final("bad").code == code
    assert "/secret" not in replies.final("bad").message
    built = b.network(SHAPES[0])
    assert replies.final("good").scores[1] == pytest.approx(plain(built, [4, 5]), abs=1e-5)
    assert isinstance(replies.final("also good"), wire.Scored)


def test_aborts_deadlines_and_peers_that_are_gone() -> None:
    scorer, _, replies = start(SHAPES[0])
    scorer.add(b.PEER, ask("late", [[1]], deadline=time.monotonic() - 1))
    scorer.add(b.PEER, ask("aborted", [[1], [2]]))
    scorer.add(b"gone", ask("gone", [[1]]))
    scorer.add(b.PEER, ask("good", [[1]]))
    assert scorer.abort(b.PEER, "aborted") and not scorer.abort(b.PEER, "aborted")
    scorer.forget({b"gone"}.__contains__)
    drain(scorer)
    assert replies.final("late").code == "deadline_exceeded"
    assert replies.final("aborted").reason == "abort"
    assert replies.all["gone"] == []
    assert isinstance(replies.final("good"), wire.Scored)
