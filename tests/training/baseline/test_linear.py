from typing import Any

import numpy as np
import pytest
from scipy import sparse

from app.training.baseline.linear import Linear, figures
from app.training.loop.evaluate import measure
from app.training.prepare.dataset import Facts

RANDOM = np.random.default_rng(5)
FEATURES = RANDOM.normal(size=(300, 6))
WEIGHTS = RANDOM.normal(size=(6, 3))


def _targets(task: str) -> Any:
    outputs = FEATURES @ WEIGHTS
    return {
        "classification": outputs.argmax(1),
        "multilabel": (outputs > 0.5).astype(np.uint8),
        "regression": outputs[:, 0].astype(np.float32),
    }[task]


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_linear_data_is_learned(task: str, is_text: bool) -> None:
    model, targets = Linear(task, is_text=is_text), _targets(task)
    inputs = sparse.csr_matrix(FEATURES) if is_text else FEATURES
    model.fit(inputs[:200], targets[:200])
    predicted = model.predict(inputs[200:])
    result = figures(task, targets[200:], predicted, {"std": 1.0})
    assert result["r2" if task == "regression" else "accuracy"] > 0.85
    assert predicted.shape == targets[200:].shape


@pytest.mark.parametrize("is_text", [True, False])
def test_a_single_class_is_always_predicted(is_text: bool) -> None:
    model = Linear("classification", is_text=is_text)
    model.fit(sparse.csr_matrix(FEATURES), np.full(300, 2))
    assert model.predict(sparse.csr_matrix(FEATURES[:4])).tolist() == [2] * 4


def test_a_label_that_all_or_no_rows_have() -> None:
    targets = np.stack([np.ones(300), np.zeros(300), _targets("multilabel")[:, 0]], 1).astype(np.uint8)
    model = Linear("multilabel", is_text=True)
    model.fit(sparse.csr_matrix(FEATURES), targets)
    assert model.predict(sparse.csr_matrix(FEATURES))[:, :2].tolist() == [[1, 0]] * 300


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_figures_are_those_of_a_network_with_these_outputs(task: str) -> None:
    targets, random = _targets(task), np.random.default_rng(1)
    outputs = FEATURES @ WEIGHTS + random.normal(size=(300, 3))
    labels = [] if task == "regression" else ["a", "b", "c"]
    scale = {"mean": 1.0, "std": 3.0}
    expected = measure(Facts(task, "tokens", "rows", labels=labels, target=scale), outputs, targets)
    predicted = {
        "classification": outputs.argmax(1), "multilabel": (outputs >= 0).astype(np.uint8), "regression": outputs[:, 0],
    }[task]  # fmt: skip
    for name, value in figures(task, targets, predicted, scale).items():
        assert value == pytest.approx(expected[name]), name
