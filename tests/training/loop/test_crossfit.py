"""A row does not influence the choice of the checkpoint whose outputs are kept for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.training.loop import mixing
from app.training.loop.crossfit import FOLDS, CrossFit, fold_numbers
from app.training.loop.evaluate import measure
from app.training.prepare.dataset import Facts, Rows
from tests.training.loops import settled

ROWS, LABELS = 200, ["a", "b", "c"]
FACTS = Facts("classification", "tokens", "rows", labels=LABELS)
TARGETS = np.random.default_rng(1).integers(0, 3, ROWS)


def rows(count: int = ROWS, targets: NDArray[Any] = TARGETS) -> Rows:
    return Rows(np.zeros(count, dtype=np.int32), np.arange(count + 1, dtype=np.int64), targets)


def crossfit(**changes: Any) -> CrossFit:
    return CrossFit(settled(**({"metric": "macro_f1", "eval_rows": None} | changes)), FACTS, rows())


def evaluations(count: int, seed: int = 2) -> list[NDArray[np.float64]]:
    """Outputs of networks that are equally good, so that only chance decides which one is the best."""
    random = np.random.default_rng(seed)
    noisy = [random.normal(size=(ROWS, 3)) + 1.5 * np.eye(3)[TARGETS] for _ in range(count)]
    return [outputs_NC.astype(np.float32).astype(np.float64) for outputs_NC in noisy]


def observe(fit: CrossFit, outputs: list[NDArray[np.float64]]) -> None:
    for outputs_NC in outputs:
        observer = fit.observer(0.5)
        assert observer is not None
        observer(outputs_NC[None], TARGETS)


def test_each_fold_keeps_the_outputs_of_the_best_evaluation_of_the_others() -> None:
    fit, outputs, chosen = crossfit(metric="loss"), evaluations(100), set()
    assert not fit.complete
    observe(fit, outputs)
    assert fit.complete
    folds_N = fold_numbers(ROWS, FOLDS)
    for fold in range(FOLDS):
        others = folds_N != fold
        best = int(np.argmin([measure(FACTS, o[others], TARGETS[others])["loss"] for o in outputs]))
        chosen.add(best)
        np.testing.assert_array_equal(fit.outputs_MC[~others], outputs[best][~others])
    assert len(chosen) > 1, "the folds do not disagree, so this test could not fail"


def test_kept_outputs_are_not_better_than_those_of_new_rows() -> None:
    """On the rows with which the best of 40 equally good evaluations is chosen, it looks better than the average."""
    optimism, kept = [], []
    for seed in range(10):
        fit, outputs = crossfit(metric="loss"), evaluations(40, seed)
        observe(fit, outputs)
        losses = [measure(FACTS, o, TARGETS)["loss"] for o in outputs]
        optimism.append(np.mean(losses) - min(losses))
        kept.append(np.mean(losses) - measure(FACTS, fit.outputs_MC.astype(np.float64), TARGETS)["loss"])
    assert np.mean(optimism) > 0.05
    assert np.mean(kept) < np.mean(optimism) / 4


def test_a_resumed_run_keeps_the_same_outputs() -> None:
    whole, before, after, outputs = crossfit(), crossfit(), crossfit(), evaluations(8)
    observe(whole, outputs)
    observe(before, outputs[:4])
    after.restore(before.tensors())
    observe(after, outputs[4:])
    np.testing.assert_array_equal(after.outputs_MC, whole.outputs_MC)
    np.testing.assert_array_equal(after.tensors()["best"], whole.tensors()["best"])


def test_a_resume_point_of_an_earlier_release_has_no_outputs() -> None:
    fit = crossfit()
    fit.restore({})
    assert not fit.complete
    fit.restore(crossfit().tensors())
    assert not fit.complete


def test_the_weights_of_a_branch_are_fitted_without_the_rows_of_the_fold() -> None:
    """The weights of the branch are also cross-fitted if the last weights of the network are kept without a choice."""
    fit = CrossFit(settled(metric="last", eval_rows=None), FACTS, rows(), mixed=True)
    parts_2NC = np.stack(evaluations(2)) * 3
    observer = fit.observer(1.0)
    assert observer is not None
    observer(parts_2NC, TARGETS)
    folds_N = fold_numbers(ROWS, FOLDS)
    for fold in range(FOLDS):
        others = folds_N != fold
        weights = mixing.fit("classification", *parts_2NC[:, others], TARGETS[others])
        expected_NC = np.tensordot(weights, parts_2NC[:, ~others], 1)
        np.testing.assert_allclose(fit.outputs_MC[~others], expected_NC, rtol=1e-5)


@pytest.mark.parametrize("changes", [{"metric": "last"}, {"eval_rows": 100}])
def test_disabled_if_other_rows_are_free(changes: dict[str, Any]) -> None:
    fit = crossfit(**changes)
    assert fit.observer(0.5) is None and not fit.complete and fit.tensors() == {}


def test_rows_with_many_labels_are_sampled() -> None:
    facts = Facts("multilabel", "tokens", "rows", labels=[str(n) for n in range(40_000)])
    fit = CrossFit(settled(metric="loss", eval_rows=None), facts, rows(ROWS, np.zeros((ROWS, 1), dtype=np.uint8)))
    assert fit.outputs_MC.shape == (25, 40_000)
    assert len(set(fold_numbers(ROWS, 2))) == 2
