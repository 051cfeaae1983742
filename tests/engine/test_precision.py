"""Outputs in another data type are accepted if their difference from float32 is within the bounds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from app.engine import precision
from app.engine.precision import Outputs
from app.wire.modes import PrecisionCheck
from app.wire.probes import IMPORT, ProbeSet
from tests.engine import builders as b

ROWS, TEXTS = 500, 32  # the minimum numbers of probes


def compare(task: str, exact: Outputs, other: Outputs, threshold: float = 0.5) -> PrecisionCheck:
    subject = precision.Subject(b.config("lstm", task), b.CPU, threshold=threshold)
    return precision.compare(subject, [exact], [other], IMPORT)


def pairs(first: float, rows: int = ROWS) -> Tensor:
    """Rows of two probabilities."""
    return torch.tensor([[first, 1.0 - first]], dtype=torch.float64).repeat(rows, 1)


def vectors(cosine: float) -> Tensor:
    """Three embeddings. The cosine similarity of the last one with (1, 0) is `cosine`, that of the others is 1."""
    return torch.tensor([[1.0, 0.0], [1.0, 0.0], [cosine, math.sqrt(1.0 - cosine**2)]], dtype=torch.float64)


@pytest.mark.parametrize(("rows", "accepted"), [(500, True), (499, False)])
def test_fewer_than_500_probes_are_not_enough(rows: int, accepted: bool) -> None:
    exact = Outputs(pairs(0.9, rows), rows)
    check = compare("classification", exact, exact)
    assert (check.accepted, check.rows, check.agreement, check.change) == (accepted, rows, 1.0, 0.0)


@pytest.mark.parametrize(("differing", "accepted"), [(2, True), (3, False)])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_labels_of_995_in_1000_probes_must_agree(task: str, differing: int, accepted: bool) -> None:
    first, threshold = (0.501, 0.5) if task == "classification" else (0.301, 0.3)
    other = pairs(first)
    other[:differing] += torch.tensor([-0.002, 0.002], dtype=torch.float64)
    check = compare(task, Outputs(pairs(first), ROWS), Outputs(other, ROWS), threshold)
    assert check.accepted == accepted and check.agreement == pytest.approx(1 - differing / ROWS)


@pytest.mark.parametrize(("change", "accepted"), [(0.0199, True), (0.0201, False), (-0.0201, False)])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_no_probability_may_change_by_more_than_2_percent(task: str, change: float, accepted: bool) -> None:
    other = pairs(0.8)
    other[-1, 0] += change
    check = compare(task, Outputs(pairs(0.8), ROWS), Outputs(other, ROWS))
    assert check.accepted == accepted and check.change == pytest.approx(abs(change)) and check.agreement == 1.0


@pytest.mark.parametrize(("cosine", "accepted"), [(0.99991, True), (0.99989, False), (math.nan, False)])
@pytest.mark.parametrize("task", ["classification", "multilabel", "generation"])
def test_every_embedding_must_keep_its_direction(task: str, cosine: float, accepted: bool) -> None:
    values, rows, following = pairs(0.8).log() if task == "generation" else pairs(0.8), ROWS, None
    if task == "generation":
        following = torch.zeros(ROWS, dtype=torch.int64)
    exact, other = (Outputs(values, rows, vectors(value), following) for value in (1.0, cosine))
    assert compare(task, exact, other).accepted == accepted


def test_probabilities_that_are_not_numbers_are_rejected() -> None:
    other = pairs(0.8)
    other[7, 1] = math.nan
    check = compare("multilabel", Outputs(pairs(0.8), ROWS), Outputs(other, ROWS))
    assert not check.accepted and check.change == 1.0


def predict(exact: Tensor, other: Tensor, rows: int = TEXTS) -> PrecisionCheck:
    """Compare distributions of the next token. The correct next token is always the first one of the vocabulary."""
    following = torch.zeros(len(exact), dtype=torch.int64)
    return compare(
        "generation", Outputs(exact.log(), rows, None, following), Outputs(other.log(), rows, None, following)
    )


@pytest.mark.parametrize(("rows", "accepted"), [(32, True), (31, False)])
def test_fewer_than_32_texts_are_not_enough(rows: int, accepted: bool) -> None:
    assert predict(pairs(0.8), pairs(0.8), rows).accepted == accepted


def test_texts_without_a_next_token_are_not_enough() -> None:
    assert not compare("generation", Outputs(torch.empty(0), ROWS), Outputs(torch.empty(0), ROWS)).accepted


@pytest.mark.parametrize(("divergence", "accepted"), [(0.0049, True), (0.0051, False)])
def test_the_mean_divergence_is_bounded(divergence: float, accepted: bool) -> None:
    """Only the second of two rows diverges, by twice the mean. The probability of the next token does not change."""
    # With p = (0.2, 0.4, 0.4) and q = (0.2, 0.4 + d, 0.4 - d), the divergence is -0.4 ln(1 - (d / 0.4)²).
    shift = 0.4 * math.sqrt(-math.expm1(-2 * divergence / 0.4))
    exact = torch.tensor([[0.2, 0.4, 0.4]] * 2, dtype=torch.float64)
    check = predict(exact, exact + torch.tensor([[0.0, 0.0, 0.0], [0.0, shift, -shift]], dtype=torch.float64))
    assert check.divergence == pytest.approx(divergence) and check.perplexity == pytest.approx(0.0, abs=1e-9)
    assert check.accepted == accepted


@pytest.mark.parametrize(("change", "accepted"), [(0.0049, True), (0.0051, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_change_of_the_perplexity_is_bounded(change: float, sign: int, accepted: bool) -> None:
    check = predict(pairs(0.5), pairs(0.5 * (1 + change) ** -sign))
    assert check.perplexity == pytest.approx(change) and check.divergence is not None and check.divergence < 1e-4
    assert check.accepted == accepted


def test_distributions_that_are_not_numbers_are_rejected() -> None:
    other = pairs(0.8)
    other[7] = math.nan
    check = predict(pairs(0.8), other)
    assert not check.accepted and check.divergence is None and check.perplexity is None


def test_a_language_model_can_be_interrupted_between_two_steps() -> None:
    shape = b.config("lstm", "generation")
    probes, asked = ProbeSet(IMPORT, [[1] * 20] * 30), []

    def go_on(done: float) -> bool:
        asked.append(done)
        return len(asked) < 5

    run = precision.outputs(precision.Subject(shape, b.CPU), b.network(shape), probes, torch.float32, go_on)
    with pytest.raises(precision.OutOfTime):
        list(run)
    assert len(asked) == 5 and asked[-1] < 0.5


def test_the_probes_of_a_language_model_are_spread_over_all_of_them() -> None:
    rows = [[i] for i in range(500)]
    assert [row[0] for row in precision._spread(rows, 32)] == list(range(0, 480, 15))
