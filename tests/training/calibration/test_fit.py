"""Fitted values minimise the documented loss, and undo known distortions of the outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from app.training.calibration import fit
from app.training.calibration.reliability import sigmoid, softmax

Array = NDArray[np.float64]


def labelled(rows: int = 400, labels: int = 4) -> tuple[Array, NDArray[np.int64]]:
    """Calibrated logits, and labels drawn from them."""
    random = np.random.default_rng(3)
    logits_NC = random.normal(size=(rows, labels)) * 2
    return logits_NC, np.asarray([random.choice(labels, p=p) for p in softmax(logits_NC)])


def penalty(scale: Array, bias: Array) -> float:
    return float(fit.SCALE_PRECISION / 2 * ((scale - 1) ** 2).sum() + fit.BIAS_PRECISION / 2 * (bias**2).sum())


@pytest.mark.parametrize("biased", [False, True])
def test_one_label_per_row_against_scipy(biased: bool) -> None:
    logits_NC, targets_N = labelled()
    distorted_NC = logits_NC * 3 + np.asarray([1.0, 0, 0, -1])
    centred_NC = distorted_NC - distorted_NC.mean(1, keepdims=True)

    def loss(theta: Array) -> float:
        probs_NC = softmax(centred_NC * theta[0] + theta[1:])
        return -float(np.log(probs_NC[np.arange(400), targets_N]).sum()) + penalty(theta[:1], theta[1:])

    count = 5 if biased else 1
    best = minimize(lambda x: loss(np.append(x, np.zeros(5 - count))), np.eye(1, count)[0], tol=1e-12).x
    fitted = fit.fit_classes(torch.from_numpy(distorted_NC), torch.from_numpy(targets_N), biased=biased)
    assert fitted.scale_C.numpy() == pytest.approx(best[:1], abs=1e-4)
    assert fitted.bias_C.numpy() == pytest.approx(best[1:] if biased else [0.0], abs=1e-4)


def test_any_labels_per_row_against_scipy() -> None:
    random = np.random.default_rng(4)
    logits_NC = random.normal(size=(300, 3)) * 2
    targets_NC = (random.random((300, 3)) < sigmoid(logits_NC)).astype(np.float64)
    distorted_NC = logits_NC * np.asarray([0.5, 1, 3]) + np.asarray([0, 1, -2])

    def loss(theta: Array, label: int) -> float:
        x = distorted_NC[:, label] * theta[0] + theta[1]
        return float((np.logaddexp(0, x) - targets_NC[:, label] * x).sum()) + penalty(theta[:1], theta[1:])

    fitted = fit.fit_labels(torch.from_numpy(distorted_NC), torch.from_numpy(targets_NC))
    for label in range(3):
        best = minimize(loss, [1.0, 0.0], args=(label,), tol=1e-12).x
        assert [float(fitted.scale_C[label]), float(fitted.bias_C[label])] == pytest.approx(best, abs=1e-4)

    def shared(theta: Array) -> float:
        x = distorted_NC * theta[0]
        return float((np.logaddexp(0, x) - targets_NC * x).sum()) + penalty(theta, np.zeros(1))

    both = fit.fit_scale(torch.from_numpy(distorted_NC), torch.from_numpy(targets_NC))
    assert both.scale_C.numpy() == pytest.approx(minimize(shared, [1.0], tol=1e-12).x, abs=1e-4)


def test_a_temperature_is_recovered() -> None:
    logits_NC, targets_N = labelled(4000)
    fitted = fit.fit_classes(torch.from_numpy(logits_NC * 2.5), torch.from_numpy(targets_N), biased=False)
    assert float(fitted.scale_C) == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_perfect_and_hopeless_networks_get_a_finite_scale(sign: float) -> None:
    """Without the penalty, the scale would become infinite if all rows were right, and negative if all were wrong."""
    targets_N = np.arange(60) % 3
    logits_NC = sign * np.eye(3)[targets_N] * 30
    fitted = fit.fit_classes(torch.from_numpy(logits_NC), torch.from_numpy(targets_N), biased=False)
    assert fit.LEAST <= float(fitted.scale_C) <= (fit.MOST if sign > 0 else 0.5)
    rare = torch.zeros(60, 1, dtype=torch.float64)
    never = fit.fit_labels(torch.full((60, 1), 5.0, dtype=torch.float64), rare)
    assert float(never(torch.tensor([[5.0]], dtype=torch.float64)).sigmoid()) < 0.2
